"""`optical evaluate`: what it writes, what it prints, what it refuses in one line."""

import csv
import json

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch
from encoders.folders import make_bert, save_pylate
from sentences import OBJECTS, SUBJECTS, VERBS, translate
from transformers import AutoTokenizer

from optical_ray.cli import main
from optical_ray.cli.evaluate import _print_skipped
from optical_ray.cli.progress import make_console
from optical_ray.encoders.config import StudentConfig
from optical_ray.encoders.student import Student
from optical_ray.encoders.student_folder import save_student
from optical_ray.recipe import Resources
from optical_ray.runs.folder import RunFolder
from optical_ray.runs.schemas import QUERIES
from optical_ray.trial import run_trial

SENTENCES = [f"{s} {v} {o}" for s, v, o in zip(SUBJECTS * 3, VERBS[3:] * 5, OBJECTS[1:] * 4, strict=False)][:20]
LANGUAGES = ("sw", "ha")


def call(*arguments):
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return ended.value.code


def write_task(folder):
    """Queries in two languages, English documents: each asks for its translation."""
    folder.mkdir()
    rows = [(f"{lang}{i}", translate(text, lang), lang) for lang in LANGUAGES for i, text in enumerate(SENTENCES[:6])]
    pq.write_table(
        pa.table(dict(zip(("query_id", "text", "lang"), map(list, zip(*rows, strict=True)), strict=True))), folder / "queries.parquet"
    )
    documents = {"doc_id": [f"d{i}" for i in range(20)], "text": SENTENCES, "lang": ["en"] * 20}
    pq.write_table(pa.table(documents), folder / "corpus.parquet")
    qrels = {"query_id": [row[0] for row in rows], "doc_id": [f"d{row[0][2:]}" for row in rows], "relevance": [1] * len(rows)}
    pq.write_table(pa.table(qrels), folder / "qrels.parquet")
    return folder


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    return write_task(tmp_path_factory.mktemp("task") / "toy")


@pytest.fixture(scope="module")
def student(world, tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("student")
    model = Student(make_bert(vocab_size=200), torch.nn.Linear(16, 32), torch.randn(32)).eval()
    save_student(model, AutoTokenizer.from_pretrained(world.teacher), StudentConfig(), folder)
    return folder


def run(task, out, model, *arguments):
    return call("evaluate", model, "--task", "parquet", "--data", task, "--out", out, "--threads", 1, *arguments)


@pytest.fixture(scope="module")
def evaluated(world, task, student, tmp_path_factory):
    out = tmp_path_factory.mktemp("evaluated") / "out"
    translations = out.with_suffix(".tsv")
    translations.write_text("".join(f"{lang}{i}\t{text}\n" for lang in LANGUAGES for i, text in enumerate(SENTENCES[:6])))
    assert run(task, out, student, "--documents", world.teacher, "--run-files", "--translations", translations) == 0
    return out


def test_how_texts_are_read_is_told_and_so_is_a_language_that_no_file_says(task, student, world, tmp_path, capsys):
    options = ("--documents", world.teacher, "--document-prefix", "the ", "--systems", "student")
    assert run(task, tmp_path / "out", student, *options) == 0
    told = capsys.readouterr().out
    assert f"queries: {student}, no prefix, cut to 64 tokens; documents: {world.teacher}, prefix 'the ', cut to 64 tokens" in told
    assert "queries in ha, sw; documents in en" in told and "query_language" not in told
    plain = write_task(tmp_path / "plain")
    for name in ("queries", "corpus"):
        pq.write_table(pq.read_table(plain / f"{name}.parquet").drop_columns(["lang"]), plain / f"{name}.parquet")
    assert run(plain, tmp_path / "english", "none", "--systems", "random") == 0
    assert "queries in en; documents in en (taken where no file says it; else query_language=CODE" in capsys.readouterr().out
    assert run(plain, tmp_path / "swahili", "none", "--systems", "random", "query_language=sw") == 0
    assert "queries in sw; documents in en\n" in capsys.readouterr().out


def test_every_query_has_a_row_for_every_system_and_scorer(evaluated):
    rows = pq.read_table(evaluated / "queries.parquet")
    assert rows.schema.equals(QUERIES)
    counts = rows.group_by(["system", "scorer"]).aggregate([("query_id", "count_distinct"), ("query_id", "count")]).to_pylist()
    tokens = ("student", "mean-removed", "components-removed", "zero-shot", "zero-shot-mean-removed", "translated")
    expected = {(system, scorer) for system in tokens for scorer in ("maxsim", "maxsim-symmetric", "pooled")}
    expected |= {("lexical", "tfidf"), ("bm25", "bm25"), ("random", "random"), ("translated-bm25", "bm25")}
    assert {(row["system"], row["scorer"]) for row in counts} == expected
    assert {(row["query_id_count_distinct"], row["query_id_count"]) for row in counts} == {(12, 12)}


def test_asking_in_english_for_the_very_document_finds_it(evaluated):
    rows = pq.read_table(evaluated / "queries.parquet")
    for system in ("translated", "translated-bm25"):
        assert set(rows.filter(pc.equal(rows["system"], system))["rank"].to_pylist()) == {1}


def test_evaluation_json_says_what_was_done(evaluated, world, student):
    facts = json.loads((evaluated / "evaluation.json").read_text())
    assert (facts["format_version"], facts["task"], facts["depth"]) == (1, "parquet", 1000)
    (collection,) = facts["collections"].values()
    assert (collection["queries"], collection["documents"], collection["relevant"], collection["skipped"]) == (12, 20, 12, {})
    assert collection["query_languages"] == ["ha", "sw"] and collection["document_languages"] == ["en"]
    assert facts["sides"]["queries"]["model"] == str(student) and facts["sides"]["documents"]["model"] == str(world.teacher)
    assert facts["sides"]["queries"]["dimension"] == facts["sides"]["documents"]["dimension"] == 32
    assert facts["systems"]["student"]["scorers"] == ["maxsim", "maxsim-symmetric", "pooled"]
    assert "transductive" in facts["systems"]["mean-removed"]["meaning"] and "ties" in facts["rules"]
    assert facts["translations"]["queries"] == 12
    assert {"all", "student", "bm25"} <= facts["seconds"].keys()


def test_the_summary_holds_the_means_of_the_rows(evaluated):
    rows = pq.read_table(evaluated / "queries.parquet").to_pandas()
    with (evaluated / "summary.csv").open() as stream:
        summary = list(csv.DictReader(stream))
    assert {line["language"] for line in summary} == {"mean", "sw", "ha"}
    for line in summary:
        own = rows[(rows["system"] == line["system"]) & (rows["scorer"] == line["scorer"])]
        by_language = [
            [(group["rank"] == 1).mean(), group["nDCG@10"].mean()]
            for language, group in own.groupby("query_language")
            if line["language"] in ("mean", language)
        ]
        expected = np.mean(by_language, axis=0)
        assert [float(line["Success@1"]), float(line["nDCG@10"])] == pytest.approx(expected.tolist(), abs=1e-5)
        assert float(line["nDCG@10 low"]) <= float(line["nDCG@10"]) <= float(line["nDCG@10 high"])


def test_trec_files_agree_with_the_rows(evaluated):
    from optical_ray.retrieval.trec import check_files

    rows = pq.read_table(evaluated / "queries.parquet")
    (qrels,) = (evaluated / "runs").glob("*.qrels")
    runs = sorted((evaluated / "runs").glob("*.run"))
    assert len(runs) == 6 * 3 + 4
    for path in runs[:3]:
        _, system, scorer = path.name.removesuffix(".run").rsplit(".", 2)
        own = rows.filter(pc.and_(pc.equal(rows["system"], system), pc.equal(rows["scorer"], scorer)))
        assert check_files(path, qrels, own) == 12 * 6
    assert json.loads((evaluated / "evaluation.json").read_text())["agreed_with_trec_eval"] == len(runs) * 12 * 6


def test_the_same_evaluation_is_used_again_and_another_refused(evaluated, world, task, student, capsys):
    before = (evaluated / "evaluation.json").read_bytes()
    translations = evaluated.with_suffix(".tsv")
    again = ("--documents", world.teacher, "--translations", translations)
    assert run(task, evaluated, student, *again) == 0
    printed = capsys.readouterr().out
    assert "evaluated already, with these models on these data" in " ".join(printed.split()) and "maxsim" in printed
    assert (evaluated / "evaluation.json").read_bytes() == before
    assert run(task, evaluated, student, "--documents", world.teacher) == 2
    assert "holds another evaluation" in capsys.readouterr().err
    assert (evaluated / "evaluation.json").read_bytes() == before


def test_force_replaces_an_evaluation_and_nothing_else(world, task, tmp_path, capsys):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years")
    assert run(task, tmp_path / "mine", "none", "--force") == 2
    assert "is there and is no evaluation" in capsys.readouterr().err
    assert run(task, tmp_path / "out", "none", "--systems", "random") == 0
    assert run(task, tmp_path / "out", "none", "--systems", "random", "--seed", 1) == 2
    assert run(task, tmp_path / "out", "none", "--systems", "random", "--seed", 1, "--force") == 0
    assert json.loads((tmp_path / "out" / "evaluation.json").read_text())["seed"] == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "out"]


def test_tables_show_floors_and_scorers_for_each_language(task, student, world, tmp_path, capsys):
    assert run(task, tmp_path / "out", student, "--documents", world.teacher, "--systems", "student,lexical") == 0
    printed = capsys.readouterr().out
    for title in ("parquet: mean over 2 languages", "parquet: ha", "parquet: sw"):
        assert title in printed
    assert printed.count("tfidf") == 3 and printed.count("pooled") == 3 and "[" in printed


def test_swapped_sides_are_swapped(task, student, world, tmp_path):
    both = ("--documents", world.teacher, "--systems", "student")
    assert run(task, tmp_path / "a", student, *both) == 0
    assert run(task, tmp_path / "b", student, *both, "--swap") == 0
    first, second = (json.loads((tmp_path / name / "evaluation.json").read_text())["sides"] for name in "ab")
    assert first["queries"]["model"] == second["documents"]["model"] == str(student)
    assert first["documents"]["model"] == second["queries"]["model"] == str(world.teacher)
    rows = [pq.read_table(tmp_path / name / "queries.parquet") for name in "ab"]
    assert rows[0]["AP"].to_pylist() != rows[1]["AP"].to_pylist()


def test_a_finished_trial_is_evaluated_beside_its_teacher(world, task, tmp_path):
    recipe = world.recipe.override({"training.max_steps": 2, "evaluation.centre": "teacher-mean"})
    folder = RunFolder(tmp_path / "run")
    run_trial(recipe, Resources(), world.store, folder)
    assert (
        run(task, tmp_path / "out", folder.trial(recipe.trial_id).path, "--store", world.store.root, "--systems", "student,zero-shot") == 0
    )
    facts = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert facts["sides"]["documents"]["model"] == str(world.teacher)
    assert facts["sides"]["centre"] == {"queries": "one vector", "documents": "one vector"}
    assert list(facts["systems"]) == ["student", "zero-shot"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("none", "--task", "tatuba"), "no task 'tatuba'; there are bitext, tatoeba"),
        (("none", "--data", "absent"), "absent"),
        (("models/absent",), "models/absent"),
        (("none", "--systems", "student"), "this evaluation has none (it has bm25, lexical, random)"),
        (("none", "--systems", "best"), "no system 'best'; expected some of student, zero-shot"),
        (("none", "--swap"), "--swap: there is no model to which it could apply"),
        (("none", "--translations", "absent.tsv"), "absent.tsv: cannot be read as translations"),
        (("none", "--languages", "qqq"), "qqq"),
        (("none", "--depth", "0"), "--depth 0: expected at least 1"),
        (("none", "passage_word=3"), "has no field 'passage_word'"),
    ],
)
def test_what_cannot_be_done_is_one_line(task, tmp_path, capsys, arguments, message):
    model, *rest = arguments
    options = {"--task": "parquet", "--data": str(task), "--out": str(tmp_path / "out")}
    for name in list(options):
        if name in rest:
            del options[name]
    given = [text for pair in options.items() for text in pair]
    assert call("evaluate", model, *given, *rest) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_sides_of_other_dimensions_are_one_line(world, task, tmp_path, capsys):
    save_pylate(world, tmp_path / "small")
    assert run(task, tmp_path / "out", tmp_path / "small", "--documents", world.teacher) == 2
    assert "token vectors have 6 dimensions, those of" in capsys.readouterr().err


def test_queries_without_a_translation_are_one_line_before_anything_is_ranked(task, tmp_path, capsys):
    (tmp_path / "t.tsv").write_text("sw0\tthe gate\n")
    assert run(task, tmp_path / "out", "none", "--translations", tmp_path / "t.tsv") == 2
    assert "no translation of 11 of 12 queries, first 'sw1' (sw)" in capsys.readouterr().err


def test_what_was_skipped_is_counted_and_printed(tmp_path, capsys):
    task = write_task(tmp_path / "toy")
    qrels = pq.read_table(task / "qrels.parquet").to_pylist()
    qrels.append({"query_id": "sw0", "doc_id": "absent", "relevance": 1})
    pq.write_table(pa.Table.from_pylist(qrels), task / "qrels.parquet")
    assert run(task, tmp_path / "out", "none", "--systems", "random") == 2
    assert run(task, tmp_path / "out", "none", "--systems", "random", "--on-bad-row", "skip") == 0
    assert "Left out: 1 x judgement of an unknown document" in capsys.readouterr().out
    facts = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert [found["skipped"] for found in facts["collections"].values()] == [{"judgement of an unknown document": 1}]


def test_what_searches_share_is_not_counted_twice(tmp_path, capsys):
    data = {"a": {"skipped": {"empty document": 3, "empty query": 1}}, "b": {"skipped": {"empty document": 3, "empty query": 2}}}
    data["c"] = {"skipped": {"empty document": 3}}
    _print_skipped(make_console(), {name: found | {"without_candidates": 0, "queries": 9} for name, found in data.items()})
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["Left out: 3 x empty document, in each of 3 searches", "Left out: 1 to 2 x empty query, in 2 of 3 searches"]


def test_queries_that_a_run_does_not_rank_are_counted(task, tmp_path, capsys):
    (tmp_path / "first.run").write_text("sw0 Q0 d0 1 1.0 x\nsw1 Q0 d0 1 1.0 x\n")
    assert run(task, tmp_path / "out", "none", "--systems", "random", "--candidates", tmp_path / "first.run") == 0
    assert "Counted as not found: 10 of 12 queries, which the run to re-rank has no document for" in capsys.readouterr().out
    facts = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert [found["without_candidates"] for found in facts["collections"].values()] == [10]


def test_a_model_of_nan_is_called_out(task, world, tmp_path, capsys):
    model = Student(make_bert(vocab_size=200), torch.nn.Linear(16, 32), torch.randn(32)).eval()
    torch.nn.init.constant_(model.projection.weight, torch.nan)
    save_student(model, AutoTokenizer.from_pretrained(world.teacher), StudentConfig(), tmp_path / "broken")
    options = ("--documents", world.teacher, "--systems", "student,random")
    assert run(task, tmp_path / "out", tmp_path / "broken", *options) == 0
    assert "student.maxsim: 12 queries for which no document's score is a number" in capsys.readouterr().out
    unscored = json.loads((tmp_path / "out" / "evaluation.json").read_text())["queries_without_scores"]
    assert unscored == {"student.maxsim": 12, "student.maxsim-symmetric": 12, "student.pooled": 12}


def test_a_link_stays_a_link(task, tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "out").symlink_to("there")
    assert run(task, tmp_path / "out", "none", "--systems", "random") == 0
    assert run(task, tmp_path / "out", "none", "--systems", "random", "--force") == 0
    assert (tmp_path / "out").is_symlink() and (tmp_path / "there" / "evaluation.json").is_file()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "there"]


def test_kept_encodings_are_used_by_the_next_evaluation(task, student, world, tmp_path):
    options = ("--documents", world.teacher, "--systems", "student", "--keep-encodings", "--store", tmp_path / "store")
    assert run(task, tmp_path / "a", student, *options) == 0
    kept = [path for path in (tmp_path / "store").iterdir() if path.is_dir()]
    assert len(kept) == 1
    assert run(task, tmp_path / "b", student, *options) == 0
    assert pq.read_table(tmp_path / "a" / "queries.parquet").equals(pq.read_table(tmp_path / "b" / "queries.parquet"))
    assert json.loads((tmp_path / "a" / "evaluation.json").read_text())["sides"]["documents_kept_as"] == "float16"


def test_an_evaluation_that_breaks_off_leaves_nothing(task, tmp_path, monkeypatch):
    def fail(*arguments):
        raise RuntimeError("interrupted")

    monkeypatch.setattr("optical_ray.cli.evaluate.write_averages", fail)
    with pytest.raises(RuntimeError):
        main(["evaluate", "none", "--task", "parquet", "--data", str(task), "--out", str(tmp_path / "out"), "--systems", "random"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--limit", 0), "max_queries"),
        (("--languages", ","), "names nothing"),
        (("--systems", " , "), "names nothing"),
    ],
)
def test_an_option_of_nothing_is_not_taken_for_all(options, message, task, tmp_path, capsys):
    assert run(task, tmp_path / "out", "none", *options) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_what_an_evaluation_lacks_is_said_with_what_to_do(task, tmp_path, capsys, monkeypatch):
    out = tmp_path / "out"
    monkeypatch.chdir(task)
    assert run(".", out, "none", "--systems", "random") == 0
    assert next(iter(json.loads((out / "evaluation.json").read_text())["collections"])) == task.name, "not the name of `.`"
    assert run(task, out, "none", "--systems", "random", "--run-files") == 2
    assert "without TREC files; evaluate again with --run-files --force" in capsys.readouterr().err
    (out / "queries.parquet").unlink()
    assert run(task, out, "none", "--systems", "random") == 2
    assert "queries.parquet is not there; evaluate again with --force" in capsys.readouterr().err
    assert run(task, out, "none", "--systems", "random", "--force") == 0
