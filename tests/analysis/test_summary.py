"""Averages against plain Python, the groups of languages, alignment of systems."""

import shutil
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from optical_ray.analysis.analyse import analyse
from optical_ray.analysis.design import common_languages, grid_cells, short, varying_fields, view_parts
from optical_ray.analysis.load import load_run, read_trial
from optical_ray.analysis.outcomes import MEASURES, OutcomeIndex, Outcomes, average, index_rows, pair
from optical_ray.analysis.page import build_page
from optical_ray.analysis.summary import ALL, IN_TRAINING, LANGUAGE, SMALLEST, SUMMARY, UNSEEN, group_languages, summarise, summary_rows
from optical_ray.artifacts import write_json
from optical_ray.retrieval.intervals import QueryBootstrap
from optical_ray.runs.folder import RunFolder


def read_rows(path, trial=None):
    """The test rows of a trial, or of the first one."""
    folder = RunFolder(path)
    return read_trial(next(folder.trials()) if trial is None else folder.trial(trial.trial_id))[1]


def outcomes(ids, values):
    relevant = np.array([f"en-{name}" for name in ids])
    values_QM = np.array(values, dtype=float)[:, None].repeat(len(MEASURES), 1)
    return Outcomes(np.array(ids), relevant, values_QM, np.zeros(len(ids), np.int64), 1, 1 / 300)


def test_the_mean_of_a_group_is_the_mean_of_its_languages_means(planted_run, planted_analysis):
    trial = next(trial for trial in planted_analysis.run.trials if trial.arm == "OT" and trial.k == 4)
    rows = [row for row in read_rows(planted_run, trial).to_pylist() if (row["system"], row["scorer"]) == ("student", "pooled")]
    means = []
    for language in sorted(trial.languages):
        ranks = [row["rank"] for row in rows if row["query_language"] == language]
        means.append(sum(rank == 1 for rank in ranks) / len(ranks))
    found = planted_analysis.success(trial, IN_TRAINING)
    assert found.estimate == pytest.approx(sum(means) / len(means))
    assert found.low < found.estimate < found.high


def test_table_and_figures_show_the_same_interval_for_the_same_outcomes(planted_analysis):
    for point in planted_analysis.curves:
        trials = [trial for trial in planted_analysis.run.trials if (trial.arm, trial.k) == (point.series, point.k)]
        if len(trials) == 1:
            found = planted_analysis.success(trials[0], point.group)
            shown = (point.interval.estimate, point.interval.low, point.interval.high)
            assert (found.estimate, found.low, found.high) == pytest.approx(shown, abs=1e-12)


def test_the_groups_split_the_evaluated_languages(planted_analysis):
    for trial in planted_analysis.run.trials:
        rows = [
            row
            for row in summary_rows(planted_analysis.summary)
            if row.trial_id == trial.trial_id and row.system == "student" and row.scorer == "pooled"
        ]
        sizes = {row.group: row.num_languages for row in rows if row.language is None}
        assert sizes[ALL] == 16 == sizes.get(IN_TRAINING, 0) + sizes.get(UNSEEN, 0)
        assert sizes.get(IN_TRAINING, 0) == (trial.k or 0)
        assert sizes[SMALLEST] == 1
        assert len({row.language for row in rows if row.group == LANGUAGE}) == 16


def test_the_summary_has_the_schema_that_it_promises(planted_analysis):
    table = planted_analysis.summary
    assert table.schema == SUMMARY and table.num_rows > 0
    assert table["method"].unique().to_pylist() == ["bootstrap"]
    assert set(table["measure"].to_pylist()) == set(MEASURES)
    assert all(
        low <= estimate <= high
        for low, estimate, high in zip(*(table[name].to_pylist() for name in ("low", "estimate", "high")), strict=True)
    )


def test_languages_that_some_seeds_train_on_are_neither_in_training_nor_unseen():
    groups = group_languages({"fr", "sw", "hi"}, frozenset({"fr"}), frozenset({"fr", "sw"}), frozenset())
    assert groups == {IN_TRAINING: ("fr",), UNSEEN: ("hi",), ALL: ("fr", "hi", "sw")}


def test_the_smallest_set_is_what_every_grid_trial_trains_on(planted_run, tmp_path, sweep_writer):
    assert common_languages(view_parts(load_run(planted_run))) == {"fr"}
    larger = sweep_writer(tmp_path / "run", sizes=(4, 16), arms=("OT",), searches=2, queries=5)
    assert common_languages(view_parts(load_run(larger))) == {"fr", "sw", "hi", "ar"}


def test_parts_hold_their_trials_and_count_what_is_pending(planted_run, tmp_path, sweep_writer):
    kinds = {part.name: (part.kind, len(part.trials), part.pending) for part in view_parts(load_run(planted_run))}
    assert kinds == {"arms": ("grid", 9, 0), "control": ("grid", 1, 0), "search": ("search", 4, 0)}
    begun = sweep_writer(tmp_path / "run", begun=3, queries=5)
    assert [part.pending for part in view_parts(load_run(begun))] == [6, 1, 4]


def test_a_trial_that_no_part_explains_is_kept_apart(tmp_path, sweep_writer, trial_writer, make_recipe, qualities):
    from optical_ray.runs.folder import RunFolder

    path = sweep_writer(tmp_path / "run", sizes=(1,), arms=("OT",), searches=1, queries=5)
    stray = trial_writer(RunFolder(path), make_recipe("OT", 1, training__learning_rate=0.5), qualities["planted"], queries=5)
    parts = view_parts(load_run(path))
    assert [trial.trial_id for trial in parts[-1].trials] == [stray] and parts[-1].kind == "unplanned"


def test_what_varies_leaves_out_what_arm_k_and_steps_show(planted_run):
    run = load_run(planted_run)
    assert varying_fields(run.trials) == ["mixing.temperature", "transport.epsilon", "objective.temperature"]
    assert [short(name) for name in varying_fields(run.trials)] == ["tau", "epsilon", "temperature"]


def test_seeds_of_one_setting_are_one_cell_and_their_outcomes_are_averaged(tmp_path, sweep_writer):
    path = sweep_writer(tmp_path / "run", sizes=(1, 2), arms=("OT",), seeds=(0, 1, 2), searches=0, queries=10, languages=("fr", "sw"))
    cells = grid_cells(view_parts(load_run(path)))
    assert [(cell.arm, cell.k, len(cell.trials), cell.series) for cell in cells] == [("OT", 1, 3, "OT"), ("OT", 2, 3, "OT")]


def test_averaging_keeps_the_queries_that_all_seeds_have():
    first, second = outcomes(["a", "b", "c"], [1, 0, 1]), outcomes(["b", "c", "d"], [1, 1, 1])
    found = average([{"fr": first, "sw": first}, {"fr": second}])
    assert list(found) == ["fr"]
    assert found["fr"].query_Q.tolist() == ["b", "c"]
    assert found["fr"].at(0).tolist() == [0.5, 1.0]
    assert found["fr"].relevant_Q.tolist() == ["en-b", "en-c"]


def test_pairing_aligns_by_query_and_counts_what_it_leaves_out():
    first = {"fr": outcomes(["a", "b", "c"], [1, 2, 3]), "sw": outcomes(["x"], [1])}
    paired = pair(first, {"fr": outcomes(["b", "c", "d"], [20, 30, 40])}, ["fr", "sw"])
    assert paired.first["fr"][:, 0].tolist() == [2, 3] and paired.second["fr"][:, 0].tolist() == [20, 30]
    assert (paired.num_queries, paired.unmatched) == (2, 3)
    assert paired.relevant["fr"].tolist() == ["en-b", "en-c"]


def test_equal_ids_of_other_data_do_not_pair():
    first, second = ({"fr": replace(outcomes(["a", "b", "c"], [1, 2, 3]), asked_Q=np.array(asked))} for asked in ([5, 6, 7], [5, 8, 0]))
    paired = pair(first, second, ["fr"])
    assert (paired.num_queries, paired.unmatched) == (2, 2)
    assert paired.first["fr"][:, 0].tolist() == [1, 3]


def test_a_query_that_stands_twice_counts_once_and_one_not_retrieved_counts_as_a_miss(planted_run):
    table = read_rows(planted_run)
    rows = table.slice(0, 1).to_pylist()[0]
    missed = rows | {"query_id": "missed", "rank": None, "AP": 0.0, "nDCG@10": 0.0}
    built = pa.Table.from_pylist([rows | {"rank": 1}, rows | {"rank": 5}, missed], schema=table.schema)
    ((found,),) = [languages.values() for languages in index_rows(built).values()]
    assert found.at(0).tolist() == [1.0, 0.0]


@pytest.mark.parametrize(("rank", "expected"), [(1, 1.0), (2, 0.5), (10, 0.1), (11, 0.0), (None, 0.0)])
def test_the_reciprocal_rank_ends_at_the_tenth(planted_run, rank, expected):
    table = read_rows(planted_run)
    row = table.slice(0, 1).to_pylist()[0] | {"rank": rank, "AP": 0.0}
    ((found,),) = [languages.values() for languages in index_rows(pa.Table.from_pylist([row], schema=table.schema)).values()]
    assert found.at(MEASURES.index("MRR@10")).tolist() == [expected]


def test_sentences_that_several_languages_ask_for_count_once(planted_run, planted_analysis):
    queries = read_rows(planted_run).select(["query_language", "relevant_id"]).to_pandas().drop_duplicates()
    for row in planted_analysis.comparisons:
        asked = set(queries.relevant_id[queries.query_language.isin(row.languages)])
        assert row.num_sentences == len(asked) <= 300 and row.num_queries == 150 * len(row.languages)
    assert planted_analysis.sources.size() == (2400, 300)
    found = {row.num_sentences for row in summary_rows(planted_analysis.summary) if row.group == LANGUAGE}
    assert found == {150}


def test_intervals_over_languages_allow_for_sentences_that_languages_share(planted_analysis):
    """Against the standard error of a ratio estimator by sentence (the sandwich with clusters), and that of independent queries."""
    trial = next(trial for trial in planted_analysis.run.trials if (trial.arm, trial.k) == ("OT", 16))
    languages = planted_analysis.sources.student([trial])
    residuals, independent = {}, 0.0
    for outcomes_l in languages.values():
        hits = outcomes_l.at(0)
        independent += hits.var() / len(hits)
        for name, value in zip(outcomes_l.relevant_Q.tolist(), hits - hits.mean(), strict=True):
            residuals[name] = residuals.get(name, 0.0) + value / len(hits)
    clustered, independent = np.sqrt(sum(value**2 for value in residuals.values())) / 16, np.sqrt(independent) / 16
    found = planted_analysis.success(trial, ALL)
    assert (found.high - found.low) / (2 * 1.96) == pytest.approx(clustered, rel=0.08)
    assert clustered > 1.25 * independent


def test_what_was_seen_in_pretraining_stands_beside_each_language_where_it_is_known(planted_run, tmp_path):
    shutil.copytree(planted_run, tmp_path / "run")
    known = {"source": "a list", "model": None, "languages": ["fr", "sw"], "seen": {"fr": True, "sw": True, "hi": False}}
    for trial in load_run(planted_run).trials:
        if trial.plan is not None and trial.k is not None:
            plan = tmp_path / "run" / "trials" / trial.trial_id / "plan.json"
            write_json(plan, {**trial.plan, "pretraining_languages": known})
    analysis = analyse(load_run(tmp_path / "run"), QueryBootstrap(resamples=50))
    rows = {row.language: row.seen_in_pretraining for row in summary_rows(analysis.summary) if row.k == 16}
    assert (rows["fr"], rows["sw"], rows["hi"], rows["ar"], rows[None]) == (True, True, False, None, None)
    untrained = {row.seen_in_pretraining for row in summary_rows(analysis.summary) if row.k is None}
    assert untrained == {None}
    table = build_page(analysis, {}).tables["languages"]
    column = table.columns.index("seen in pre-training")
    shown = {row[0].text: row[column].text for row in table.rows}
    assert (shown["fr"], shown["sw"], shown["hi"], shown["ar"]) == ("yes", "yes", "no", "-")


def test_a_page_without_pretraining_has_no_column_for_it(planted_analysis):
    assert "seen in pre-training" not in build_page(planted_analysis, {}).tables["languages"].columns


def test_trials_that_were_asked_the_same_keep_the_questions_once(planted_run):
    rows = read_rows(planted_run)
    index = OutcomeIndex(dtype=np.float32)
    for name in ("a", "b"):
        index.add(name, rows)
    index.add("other", rows.slice(0, rows.num_rows - 1))
    found = index.outcomes()
    for system, languages in found["a"].items():
        for language, own in languages.items():
            twin = found["b"][system][language]
            assert own.query_Q is twin.query_Q and own.relevant_Q is twin.relevant_Q and own.values_QM.dtype == np.float32
            assert own.values_QM == pytest.approx(index_rows(rows)[system][language].values_QM, abs=1e-7)
    assert sum(len(own.query_Q) for one in found["other"].values() for own in one.values()) == rows.num_rows - 1


def test_beyond_so_many_trials_averages_have_linear_intervals_near_those_of_the_bootstrap(planted_run, planted_analysis, monkeypatch):
    monkeypatch.setattr("optical_ray.analysis.summary.MOST_BOOTSTRAPPED", 13)
    found = summarise(load_run(planted_run))
    assert found["method"].unique().to_pylist() == ["linear"]
    names = [name for name in SUMMARY.names if name not in ("low", "high", "method")]
    assert found.select(names).equals(planted_analysis.summary.select(names))
    resampled = planted_analysis.summary.to_pandas()
    linear = found.to_pandas()
    assert (linear.low >= 0).all() and (linear.high <= 1).all()
    means = (linear.group != LANGUAGE) & (linear.measure == "Success@1") & (resampled.low > 0.05) & (resampled.high < 0.95)
    widths = (linear.high - linear.low)[means] / (resampled.high - resampled.low)[means]
    assert means.sum() > 100 and widths.min() > 0.9 and widths.max() < 1.15


@pytest.mark.parametrize("most_bootstrapped", [13, 100], ids=["linear", "bootstrap"])
def test_averages_do_not_depend_on_how_many_trials_are_taken_together(planted_run, monkeypatch, most_bootstrapped):
    monkeypatch.setattr("optical_ray.analysis.summary.MOST_BOOTSTRAPPED", most_bootstrapped)
    run, bootstrap = load_run(planted_run), QueryBootstrap(resamples=500)
    together = summarise(run, bootstrap)
    monkeypatch.setattr("optical_ray.analysis.summary.TOGETHER", 1)
    alone = summarise(run, bootstrap)
    numbers = ["estimate", "low", "high"]
    assert together.drop_columns(numbers).equals(alone.drop_columns(numbers))
    for name in numbers:
        assert together[name].to_numpy() == pytest.approx(alone[name].to_numpy(), abs=1e-6)
