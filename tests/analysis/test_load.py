"""Run folders as they are found: whole, half-written, empty, foreign."""

import json
import math
import shutil

import pytest

from optical_ray.analysis.load import load_run
from optical_ray.analysis.report import write_report
from optical_ray.errors import RunFolderError
from optical_ray.runs import names
from optical_ray.runs.folder import RunFolder


@pytest.fixture
def small_run(tmp_path, sweep_writer):
    """Two languages, one arm at k = 1 and 2, the control, no search: a folder that a test may break."""
    return sweep_writer(tmp_path / "run", sizes=(1, 2), arms=("OT",), searches=0, queries=20, languages=("fr", "sw"))


def first_trial(path):
    return next(RunFolder(path).trials())


def test_a_finished_run_is_read_whole(planted_run):
    run = load_run(planted_run)
    assert len(run.trials) == 14 and not [problem for trial in run.trials for problem in trial.problems]
    assert run.num_rows == 14 * 16 * 150 * 5
    assert {trial.arm for trial in run.trials} == {"OT", "OT + contrastive", "contrastive", "none"}
    assert sorted({trial.k for trial in run.trials if trial.k}) == [1, 4, 16]


def test_the_untrained_control_has_no_languages_in_training(planted_run):
    control = next(trial for trial in load_run(planted_run).trials if trial.arm == "none")
    assert control.languages == frozenset() and control.k is None


def test_a_folder_that_is_not_there_or_no_run_or_of_another_format_is_refused(tmp_path, small_run):
    with pytest.raises(RunFolderError, match="no such folder"):
        load_run(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(RunFolderError, match=r"no sweep\.json"):
        load_run(tmp_path / "empty")
    sweep = small_run / "sweep.json"
    values = json.loads(sweep.read_text(encoding="utf-8"))
    sweep.write_text(json.dumps(values | {"format_version": 99}), encoding="utf-8")
    with pytest.raises(RunFolderError, match="format version 99"):
        load_run(small_run)
    sweep.write_text(json.dumps(values | {"colour": "red"}), encoding="utf-8")
    with pytest.raises(RunFolderError, match="no field 'colour'"):
        load_run(small_run)
    sweep.write_text('{"format_version": 1, "na', encoding="utf-8")
    with pytest.raises(RunFolderError, match="cannot be read"):
        load_run(small_run)


def test_a_half_written_line_of_metrics_is_left_out_and_a_null_becomes_nan(small_run):
    trial = first_trial(small_run)
    before = dict(load_run(small_run).by_id[trial.trial_id].metrics)
    trial.append_metrics(350, None, {names.LOSS: math.inf})
    with trial.metrics.open("a", encoding="utf-8") as stream:
        stream.write('{"step": 400, "resumed_from": null, "na')
    found = load_run(small_run).by_id[trial.trial_id]
    assert not found.problems
    assert found.metrics[names.LOSS][:-1] == before[names.LOSS]
    step, value = found.metrics[names.LOSS][-1]
    assert step == 350 and math.isnan(value)


def test_an_attempt_that_began_again_from_the_start_counts_once(small_run):
    trial = first_trial(small_run)
    for step in (0, 50):
        trial.append_metrics(step, None, {names.WITHIN_SENTENCE_COSINE: 0.25})
    assert load_run(small_run).by_id[trial.trial_id].metrics[names.WITHIN_SENTENCE_COSINE] == ((0, 0.25), (50, 0.25))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("recipe.json", b"{", "recipe.json: cannot be read"),
        ("recipe.json", b"[1]", "recipe.json: expected a JSON object, found list"),
        ("plan.json", b'{"languages": "fr"}', "plan.json: no list of languages"),
        ("status.json", b'{"format_version": 7}', "status.json: format version 7"),
        ("status.json", b'{"format_version": 1, "state": "asleep"}', "status.json: "),
        ("metrics.jsonl", b"\xff\xfe", "metrics.jsonl: cannot be read"),
        ("metrics.jsonl", b"17\n", "metrics.jsonl: cannot be read"),
        ("metrics.jsonl", b'{"step": 1, "resumed_from": null}\n', "metrics.jsonl: cannot be read"),
        ("queries.parquet", b"PAR1 and then nothing", "queries.parquet: cannot be read"),
    ],
)
def test_a_broken_file_is_said_in_words_and_the_other_trials_are_read(small_run, quick_analysis, name, content, said):
    trial = first_trial(small_run)
    (trial.path / name).write_bytes(content)
    run = load_run(small_run)
    assert any(said in problem for problem in run.by_id[trial.trial_id].problems)
    assert all(str(small_run) not in problem for other in run.trials for problem in other.problems)
    others = [other for other in run.trials if other.trial_id != trial.trial_id]
    assert all(not other.problems and other.finished for other in others)
    assert any(said in note for note in quick_analysis(small_run).run.by_id[trial.trial_id].problems)


def test_a_column_that_is_missing_is_named(small_run):
    import pyarrow.parquet as pq

    trial = first_trial(small_run)
    pq.write_table(pq.read_table(trial.queries).drop_columns(["rank"]), trial.queries)
    assert load_run(small_run).by_id[trial.trial_id].problems == ("queries.parquet: no column rank",)


def test_a_value_that_is_no_number_is_named_and_its_trial_left_out(small_run):
    import pyarrow as pa
    import pyarrow.parquet as pq

    trial = first_trial(small_run)
    rows = pq.read_table(trial.queries)
    values = pa.array([float("nan"), *rows["AP"].to_pylist()[1:]], pa.float32())
    pq.write_table(rows.set_column(rows.column_names.index("AP"), rows.schema.field("AP"), [values]), trial.queries)
    run = load_run(small_run)
    said = "queries.parquet: left out, since AP of 1 rows is not a number: the file is damaged"
    assert run.by_id[trial.trial_id].problems == (said,) and trial.trial_id not in run.outcomes
    write_report(run.path, small_run / "out")
    assert trial.trial_id not in set(pq.read_table(small_run / "out" / "rows.parquet")["trial_id"].to_pylist())


def test_test_rows_of_a_trial_that_has_not_finished_do_not_count(small_run):
    trial = first_trial(small_run)
    status = trial.read_status()
    rows = load_run(small_run).num_rows
    trial.write_status(status.model_copy(update={"state": "running"}))
    run = load_run(small_run)
    assert run.num_rows == rows * 2 // 3
    assert "left out, since the trial is running" in run.by_id[trial.trial_id].problems[0]


def test_a_trial_without_a_status_is_pending_and_knows_its_k_from_the_recipe(small_run):
    trial = first_trial(small_run)
    k = load_run(small_run).by_id[trial.trial_id].k
    for name in ("status.json", "plan.json", "queries.parquet", "metrics.jsonl"):
        (trial.path / name).unlink()
    found = load_run(small_run).by_id[trial.trial_id]
    assert (found.state, found.k, found.languages, found.problems) == ("pending", k, None, ())


def test_a_run_without_a_trial_is_a_run(small_run):
    shutil.rmtree(small_run / "trials")
    run = load_run(small_run)
    assert run.trials == () and run.num_rows == 0
