"""A trial that holds other tasks beside bitext: what the report says of bitext does not move, and no mean mixes tasks or directions."""

import shutil

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from analysis.evaluations import random_ranks, rows
from rich.console import Console

from optical_ray.analysis.analyse import analyse
from optical_ray.analysis.load import load_run
from optical_ray.analysis.other_tasks import other_tasks
from optical_ray.analysis.report import write_report
from optical_ray.analysis.summary import ALL, LANGUAGE, summary_rows
from optical_ray.analysis.table import render_table
from optical_ray.cli.card_results import CardResults
from optical_ray.recipe import Recipe
from optical_ray.retrieval.intervals import QueryBootstrap
from optical_ray.runs.folder import RunFolder


@pytest.fixture(scope="module")
def plain(tmp_path_factory, sweep_writer):
    path = tmp_path_factory.mktemp("runs") / "plain"
    return sweep_writer(path, sizes=(1, 2), arms=("OT",), searches=2, queries=20, languages=("fr", "sw"))


@pytest.fixture(scope="module")
def mixed(plain, tmp_path_factory):
    """The same run; every finished trial has LAReQA and both directions of Tatoeba too."""
    path = tmp_path_factory.mktemp("runs") / "mixed"
    shutil.copytree(plain, path)
    for number, trial in enumerate(RunFolder(path).trials()):
        extra = []
        for system, scorer in (("student", "maxsim"), ("student", "pooled"), ("lexical", "tfidf")):
            kind = {"system": system, "scorer": scorer}
            for tag in ("fr", "sw"):
                seed = number * 100 + ord(tag[0])
                extra.append(rows(random_ranks(seed), task="lareqa", collection="all", query_language=tag, document_language="mul", **kind))
                extra.append(rows(random_ranks(seed + 1, hit=0.9), query_language=tag, **kind))
                extra.append(rows(random_ranks(seed + 2, hit=0.1), query_language="en", document_language=tag, **kind))
        trial.write_queries(pa.concat_tables([pq.read_table(trial.queries), *extra]))
    return path


@pytest.fixture(scope="module")
def mixed_analysis(mixed):
    return analyse(load_run(mixed), QueryBootstrap(200))


def test_what_is_said_of_bitext_does_not_move(plain, mixed_analysis):
    alone = analyse(load_run(plain), QueryBootstrap(200))
    assert mixed_analysis.comparisons == alone.comparisons
    assert (mixed_analysis.curves, mixed_analysis.languages, mixed_analysis.scorers) == (alone.curves, alone.languages, alone.scorers)
    assert mixed_analysis.summary.filter(pc.field("task") == "bitext").equals(alone.summary)
    assert mixed_analysis.sources.size() == alone.sources.size()


def test_every_task_and_direction_has_means_of_its_own(mixed_analysis, mixed):
    tasks = set(mixed_analysis.summary["task"].to_pylist())
    assert tasks == {"bitext", "lareqa", "tatoeba", "tatoeba from en"}
    trial = next(RunFolder(mixed).trials())
    table = pq.read_table(trial.queries).to_pandas()
    own = table[(table.task == "tatoeba") & (table.query_language == "en") & (table.system == "student") & (table.scorer == "pooled")]
    expected = (own["rank"] == 1).groupby(own.document_language).mean()
    found = {
        row.language or row.group: row.estimate
        for row in summary_rows(mixed_analysis.summary)
        if (row.trial_id, row.task, row.system, row.scorer) == (trial.trial_id, "tatoeba from en", "student", "pooled")
        and row.measure == "Success@1" and row.group in (ALL, LANGUAGE)
    }  # fmt: skip
    assert found == pytest.approx({"fr": expected["fr"], "sw": expected["sw"], ALL: np.mean(expected)})


def test_the_page_and_the_terminal_show_other_tasks_in_a_table_of_their_own(mixed_analysis, tmp_path):
    html = write_report(mixed_analysis, tmp_path / "report").read_text(encoding="utf-8")
    assert "<h2>Other tasks</h2>" in html and "tatoeba from en" in html
    lines = (tmp_path / "report" / "tasks.csv").read_text(encoding="utf-8").splitlines()
    shown = len({item.trial.trial_id for item in other_tasks(mixed_analysis) if item.trial})
    assert len(lines) == 1 + 3 * (1 + shown)  # three tasks: the reference once, and the students that may be shown
    assert {line.split(",")[0] for line in lines[1:]} == {"lareqa", "tatoeba", "tatoeba from en"}
    assert all("AP@20" in line for line in lines if line.startswith("lareqa,"))
    console = Console(width=120, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(render_table(mixed_analysis))
    console.file.close()
    assert "other tasks, mean over their languages" in console.export_text()


def test_of_a_search_other_tasks_show_the_chosen_trial_alone(mixed_analysis):
    search = next(part for part in mixed_analysis.parts if part.kind == "search")
    assert len(search.trials) == 2
    shown = {item.trial.trial_id for item in other_tasks(mixed_analysis) if item.trial}
    assert len(shown & {trial.trial_id for trial in search.trials}) == 1


def test_a_run_with_bitext_alone_has_no_such_table(plain, tmp_path):
    html = write_report(analyse(load_run(plain), QueryBootstrap(100)), tmp_path / "report").read_text(encoding="utf-8")
    assert "Other tasks" not in html and not (tmp_path / "report" / "tasks.csv").exists()


def test_a_model_card_keeps_directions_apart(mixed):
    trial = next(RunFolder(mixed).trials())
    text = CardResults.read(trial.queries, Recipe()).describe(frozenset(["fr"]))
    assert "| tatoeba from en | student | maxsim | trained (1) |" in text
    assert "Success@1 of lareqa by language" in text
