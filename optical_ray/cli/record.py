"""What a run writes down about itself before its first trial."""

from __future__ import annotations

from optical_ray.runs.folder import utc_now
from optical_ray.runs.provenance import describe_provenance
from optical_ray.runs.schemas import SweepRecord
from optical_ray.sweep import Sweep


def record(sweep: Sweep) -> SweepRecord:
    """sweep.json of a sweep that starts now, on this machine."""
    return SweepRecord(
        name=sweep.name,
        fingerprint=sweep.fingerprint,
        question=sweep.question,
        expectation=sweep.expectation,
        predictions=[prediction.to_dict() for prediction in sweep.predictions],
        base=sweep.base.to_dict(),
        parts=sweep.describe(),
        metric=sweep.metric,
        created_at=utc_now(),
        provenance=describe_provenance(),
    )
