"""The disk of a run fills up, or becomes read-only, in mid-run."""

import pytest
from disks import filled, needs_root, read_only, small_disk
from fake_trial import HELD_SEED, HOLD, fake_trial

from optical_ray.artifacts import Store
from optical_ray.errors import ArtifactError
from optical_ray.orchestration.tune import run_sweep
from optical_ray.recipe import Recipe
from optical_ray.runs.folder import RunFolder
from optical_ray.sweep import GridPart, Sweep

MEGABYTES = 4


@needs_root
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # Tune leaves its loggers' files open
@pytest.mark.parametrize(("spoilt", "expected"), [(filled, "the disk is full"), (read_only, "the disk is read-only")])
def test_a_disk_that_takes_nothing_ends_the_sweep_in_one_line_and_nothing_finished_is_lost(tmp_path, cluster, spoilt, expected):
    place = tmp_path / "disk"
    grid = GridPart("grid", {"seed": (0, HELD_SEED, 2)})
    sweep = Sweep("fake", "does it bear it?", "yes", Recipe().override({"training.max_steps": 4}), (grid,), concurrent_trials=1)
    run = RunFolder(place / "run")
    ends = []

    def spoil(state):
        if not ends and any(trial.step == 2 and trial.label == f"seed={HELD_SEED}" for trial in state.running):
            (run.path / HOLD).unlink()
            context = spoilt(place)
            context.__enter__()
            ends.append(context)

    def go(**options):
        return run_sweep(sweep, run, Store(tmp_path / "store"), run_trial=fake_trial, progress_seconds=0.1, **options)

    with small_disk(place, MEGABYTES):
        run.path.mkdir()
        (run.path / HOLD).touch()
        try:
            with pytest.raises(ArtifactError, match=expected):
                go(progress=spoil)
        finally:
            for context in ends:
                context.__exit__(None, None, None)
        before = {trial.trial_id for trial in run.trials() if (status := trial.read_status()) and status.state == "finished"}
        assert before == {next(iter(sweep.planned()))}
        outcome = go(retry_failed=True)
        assert (len(outcome.finished), outcome.failed, outcome.unfinished) == (3, (), ())
        calls = [line.split()[0] for line in (run.path / "calls.log").read_text().splitlines()]
        assert calls.count(outcome.finished[0]) == 1, "nothing that finished runs again"
