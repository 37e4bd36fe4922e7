"""What of a run folder must be the same wherever it was made."""

from __future__ import annotations

from pathlib import Path

from optical_ray.runs.folder import RunFolder

NUMBERS = ("loss", "valid", "transport")
"""Metrics that the recipe determines; seconds and speeds are the machine's."""


def values(folder: Path) -> dict[str, object]:
    """Objective, losses and validations of every trial that has finished, by trial id: every digit of them.

    Of a trial that was interrupted before its first checkpoint, the rows that it wrote again when it began anew.
    """
    found: dict[str, object] = {}
    for trial in RunFolder(folder).trials():
        status = trial.read_status()
        assert status is not None and status.state == "finished", f"{trial.path}: {status}"
        rows = [(row.step, row.name, row.value) for row in trial.read_metrics() if row.name.split("/")[0] in NUMBERS]
        assert len(rows) > 10, rows
        found[status.trial_id] = (status.objective, rows)
    assert found
    return found
