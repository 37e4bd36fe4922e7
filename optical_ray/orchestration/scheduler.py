"""What ends trials early, as Ray Tune asks for it: the search's own rule at every validation, and the wall time of the whole sweep."""

from __future__ import annotations

from typing import Any

from ray import tune
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler

from optical_ray.orchestration.search import SweepSearch
from optical_ray.runs.folder import TrialFolder, utc_now


class HalvingScheduler(FIFOScheduler):  # type: ignore[misc]  # Ray's classes have no types
    """Trials in the order in which they are asked for; the search says which one stops."""

    def __init__(self, search: SweepSearch) -> None:
        super().__init__()
        self._search = search

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        return str(self.STOP if self._search.must_stop(trial.trial_id, result) else self.CONTINUE)


class WallTime(tune.Stopper):  # type: ignore[misc]
    """Ends the sweep, and what runs, when its time is over. Tune then tells neither search nor callbacks, as after SIGINT."""

    def __init__(self, search: SweepSearch) -> None:
        self._search = search

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self._search.is_out_of_time()

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles it for Tuner.restore, which is not used


def close_pruned(folder: TrialFolder) -> None:
    """Say `pruned` in the status of a trial that a scheduler ended, and drop what only its continuation would need. Repeatable.

    Its best student, its curves and its plan stay.
    """
    status = folder.read_status()
    if status is None or status.state == "finished":
        return
    if status.state != "pruned":
        folder.write_status(status.override({"state": "pruned", "error": None, "updated_at": utc_now()}))
    folder.drop_checkpoints()
