"""Faults on purpose: named points at which a distillation fails as it may fail by itself, to see that what stands around it holds.

    OPTICAL_FAULTS="kill step=120"                           the process is killed (SIGKILL) while it computes step 120
    OPTICAL_FAULTS="nan step=40 trial=ab12; oom step=3"      several; of trials whose id begins so
    OPTICAL_FAULTS="hang step=10 rank=1"                     of several workers, on this one (default: 0)
    OPTICAL_FAULTS="raise step=10 times=3"                   at the first three tries of the step (default: 1)

kill, hang and raise do what they say; `nan` makes the loss NaN, `oom` raises as an accelerator without memory does. What has happened is
noted in the trial's folder, so that a trial that goes on is not hit again.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Literal, cast, get_args

import torch

from optical_ray.errors import ConfigError
from optical_ray.training.protocols import B, Encode, Objective, Priced

log = logging.getLogger(__name__)

VARIABLE = "OPTICAL_FAULTS"
NOTED = ".faults"
Kind = Literal["kill", "hang", "raise", "nan", "oom"]
HANG_SECONDS = 24 * 3600.0


class InjectedFault(RuntimeError):
    """Raised by the fault `raise`; a defect, as far as anybody can tell."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One of those that VARIABLE names."""

    kind: Kind
    step: int
    rank: int = 0
    trial: str = ""
    times: int = 1


def parse_faults(text: str) -> tuple[Fault, ...]:
    """What VARIABLE holds.

    Raises:
        ConfigError: an unknown kind or word, or no step.
    """
    found = []
    for part in filter(None, (part.strip() for part in text.split(";"))):
        kind, *words = part.split()
        values = dict(word.partition("=")[::2] for word in words)
        numbers = {name: value for name, value in values.items() if name != "trial"}
        known = numbers.keys() <= {"step", "rank", "times"} and all(value.isdecimal() for value in numbers.values())
        if kind not in get_args(Kind) or not known or int(values.get("step", 0)) < 1:
            raise ConfigError(
                f"{VARIABLE}: {part!r}; expected {'|'.join(get_args(Kind))} step=N [rank=N] [trial=PREFIX] [times=N], several parted by ;"
            )
        found.append(Fault(cast(Kind, kind), trial=values.get("trial", ""), **{name: int(value) for name, value in numbers.items()}))
    return tuple(found)


def with_faults(objective: Objective[B], folder: Path, trial_id: str, rank: int, step: int) -> Objective[B]:
    """The objective, with the faults that the environment names for this worker of this trial; itself, where there are none.

    Args:
        objective: Of the training.
        folder: The trial's; what has happened is noted there.
        trial_id: Of the trial.
        rank: Of the worker.
        step: That the training starts after.
    """
    named = parse_faults(os.environ.get(VARIABLE, ""))
    own = [fault for fault in named if fault.rank == rank and trial_id.startswith(fault.trial)]
    return _Faulty(objective, own, folder / f"{NOTED}-{rank}", step) if own else objective


class _Faulty(Generic[B]):
    """An objective that fails at its first micro-batch of some steps."""

    def __init__(self, objective: Objective[B], faults: Sequence[Fault], noted: Path, step: int) -> None:
        self._objective, self._faults, self._noted, self._step = objective, faults, noted, step

    @property
    def group(self) -> int:
        return self._objective.group

    def counts(self, batch: B) -> dict[str, float]:
        self._step += 1  # asked once for each global batch
        return self._objective.counts(batch)

    def price(self, model: Encode, batch: B, counts: Mapping[str, float]) -> Priced:
        due = [fault for fault in self._faults if fault.step == self._step and self._happens(fault)]
        for fault in due:
            if fault.kind == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            elif fault.kind == "hang":
                time.sleep(HANG_SECONDS)
            elif fault.kind == "raise":
                raise InjectedFault(f"injected at step {self._step}")
            elif fault.kind == "oom":
                raise torch.OutOfMemoryError(f"injected at step {self._step}: out of memory")
        priced = self._objective.price(model, batch, counts)
        if not any(fault.kind == "nan" for fault in due):
            return priced
        return Priced(priced.total * torch.nan, {name: value * torch.nan for name, value in priced.sums.items()}, priced.kept)

    def scalars(self, parts: Sequence[Priced], counts: Mapping[str, float]) -> dict[str, float]:
        return self._objective.scalars(parts, counts)

    def step_taken(self, parts: Sequence[Priced]) -> None:
        self._objective.step_taken(parts)

    def _happens(self, fault: Fault) -> bool:
        """Note that it happens now, before it does; False where it has happened often enough."""
        line = f"{fault.kind} {fault.step}\n"
        before = self._noted.read_text(encoding="utf-8") if self._noted.is_file() else ""
        if before.count(line) >= fault.times:
            return False
        with self._noted.open("a", encoding="utf-8") as stream:
            stream.write(line)
        log.warning("event=injected_fault kind=%s step=%d", fault.kind, fault.step)
        return True
