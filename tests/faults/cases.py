"""One sweep of tiny real trials, disturbed: run by `python FILE` in a process of its own, looked at through its files."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import optuna
from disturbed import make_sweep

from optical_ray.analysis.load import load_run
from optical_ray.orchestration.study import open_storage
from optical_ray.recipe import Recipe
from optical_ray.runs.folder import RunFolder

HERE = Path(__file__).parent
STEPS, CHECKPOINT_EVERY, FAULT = 40, 10, 23
"""Of every trial; the fault comes while step 23 is computed, after the checkpoint of step 20."""
BEGUN_SECONDS, ENDED_SECONDS = 180, 300
RECOVERIES: list[tuple[str, int, float]] = []
"""What happened, steps done twice, seconds until the trial reported again (it does so every fifth step)."""
Losses = dict[str, list[tuple[int, str, float | None]]]


@dataclass(frozen=True)
class Case:
    """A sweep, where it is written, and what is to befall it."""

    recipe: dict[str, Any]
    store: Path
    place: Path
    """Where run folders go."""
    seeds: tuple[int, ...] = (0, 1)
    searched: int = 2
    workers: int = 1
    concurrent: int = 2
    restarts: int = 2
    hang_minutes: float | None = None
    faults: str = ""
    address: str = "local"
    options: tuple[str, ...] = ()
    process: subprocess.Popen[str] | None = field(default=None, compare=False)
    reports: dict[str, list[float]] = field(default_factory=dict, compare=False)
    """When the trials were seen to report, by trial id, as long as this process waited for something."""

    @property
    def plan(self) -> dict[str, Any]:
        """What the sweep file reads."""
        return {name: getattr(self, name) for name in ("recipe", "seeds", "searched", "workers", "concurrent", "restarts", "hang_minutes")}

    @property
    def run(self) -> RunFolder:
        return RunFolder(self.place / make_sweep(self.plan).folder_name)

    @property
    def log(self) -> Path:
        """What all starts have printed; beside the place, which may be full or read-only."""
        return self.file.with_suffix(".log")

    @property
    def file(self) -> Path:
        return self.place.with_name(f"{self.place.name}-sweep.py")

    def trial_id(self, seed: int) -> str:
        """Of the grid's trial of a seed."""
        return Recipe.parse(self.recipe, "case").override({"seed": seed}).trial_id

    # ---- starting and disturbing it

    def start(self) -> Case:
        """In a process, and a process group, of its own."""
        self.place.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(HERE / "disturbed.py", self.file)
        self.file.with_suffix(".json").write_text(json.dumps(self.plan))
        environment = os.environ | {"OPTICAL_FAULTS": self.faults, "PYTHONPATH": str(HERE.parents[1])}
        command = [
            sys.executable,
            str(self.file),
            "--out",
            str(self.place),
            "--store",
            str(self.store),
            "--address",
            self.address,
            *self.options,
        ]
        with self.log.open("a") as stream:
            stream.write(f"$ {' '.join(command)}\n")
            stream.flush()
            process = subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT, text=True, env=environment, start_new_session=True)
        return replace(self, process=process)

    def end(self, seconds: float = ENDED_SECONDS) -> int:
        """Its exit status."""
        assert self.process is not None
        deadline = time.monotonic() + seconds
        try:
            while (status := self.process.poll()) is None:
                assert time.monotonic() < deadline, f"no end in {seconds} s:\n{self.said()}"
                self.look()
            return status
        finally:
            self.kill()

    def look(self) -> None:
        """Who has reported, and wait a moment."""
        for trial in self.run.trials():
            seen = self.reports.setdefault(trial.trial_id, [])
            if trial.metrics.is_file() and (written := trial.metrics.stat().st_mtime) not in seen[-1:]:
                seen.append(written)
        time.sleep(0.05)

    def again(self, *options: str) -> Case:
        """The same sweep, to be gone on with, undisturbed."""
        return replace(self, options=options or ("--resume",), faults="")

    def go(self) -> int:
        """From its start to its end; its exit status."""
        return self.start().end()

    def said(self) -> str:
        """What all starts have printed."""
        return self.log.read_text()

    def await_fault(self, seed: int = 0, rank: int = 0) -> None:
        """Until a fault has come to the grid's trial of a seed."""
        self.wait_for(self._noted(seed, rank).is_file, f"the fault of seed {seed}")

    def _noted(self, seed: int, rank: int) -> Path:
        return self.run.trial(self.trial_id(seed)).path / f".faults-{rank}"

    def wait_for(self, happened: Callable[[], bool], what: str, seconds: float = BEGUN_SECONDS) -> None:
        """Until something is so, while the driver lives."""
        assert self.process is not None
        deadline = time.monotonic() + seconds
        while not happened():
            assert self.process.poll() is None, f"the driver ended before {what}:\n{self.said()}"
            assert time.monotonic() < deadline, f"{what} did not come in {seconds} s:\n{self.said()}"
            self.look()

    def signal(self, number: int) -> None:
        """To the driver alone, by its id."""
        assert self.process is not None
        os.kill(self.process.pid, number)

    def trial_processes(self) -> list[int]:
        """Ids of the processes that Tune runs trials in: grandchildren of the driver, by way of its raylet."""
        assert self.process is not None
        found = []
        for status in Path("/proc").glob("[0-9]*/stat"):
            try:
                name = status.with_name("cmdline").read_bytes().decode(errors="replace")
                if name.startswith("ray::ImplicitFunc") and _parent(_parent(int(status.parent.name))) == self.process.pid:
                    found.append(int(status.parent.name))
            except OSError:  # it has ended meanwhile
                continue
        return found

    def kill(self) -> None:
        """The driver, if it lives."""
        assert self.process is not None
        if self.process.poll() is None:
            self.signal(signal.SIGKILL)
            self.process.wait()

    # ---- what is left of it

    def state(self, seed: int) -> tuple[str, str]:
        """Of the grid's trial of a seed: its state, and the line that says why."""
        status = self.run.trial(self.trial_id(seed)).read_status()
        assert status is not None
        return status.state, status.error or ""

    def losses(self) -> Losses:
        """What each trial reported of its training, superseded rows and seconds left out."""
        return {
            trial.trial_id: [(row.step, row.name, row.value) for row in trial.read_metrics() if "seconds" not in row.name]
            for trial in self.run.trials()
        }

    def finished(self) -> dict[str, float]:
        """When the rows of each finished trial were written."""
        states = {trial.trial_id: trial.read_status() for trial in self.run.trials()}
        names = [trial_id for trial_id, status in states.items() if status is not None and status.state == "finished"]
        return {trial_id: self.run.trial(trial_id).queries.stat().st_mtime for trial_id in names}

    def redone(self) -> dict[str, int]:
        """Steps that each trial has done, and reported, more than once."""
        found: dict[str, int] = {}
        for trial in self.run.trials():
            last = 0
            for line in trial.metrics.read_text().splitlines():
                row = json.loads(line)
                if row["step"] < last:
                    found[trial.trial_id] = max(found.get(trial.trial_id, 0), last - (row["resumed_from"] or 0))
                last = row["step"]
        return found

    def recovered(self, what: str, seed: int | None = 0, rank: int = 0, since: float | None = None) -> None:
        """Note how long after the fault, or a moment, the grid's trial of a seed (None: any) reported again, and what it did twice."""
        trials = list(self.reports) if seed is None else [self.trial_id(seed)]
        since = self._noted(seed or 0, rank).stat().st_mtime if since is None else since
        later = [moment for trial_id in trials for moment in self.reports[trial_id] if moment > since]
        assert later, f"{what}: no report since"
        RECOVERIES.append((what, max(self.redone().get(trial_id, 0) for trial_id in trials), min(later) - since))

    def study(self) -> Counter[str]:
        """How many trials of the search are in which state."""
        study = optuna.load_study(study_name="search", storage=open_storage(self.run.study))
        return Counter(trial.state.name for trial in study.trials)

    def check_whole(self, reference: Losses) -> None:
        """All trials finished, with the numbers of a sweep that nothing befell; the study, the files and the report agree."""
        planned = len(self.seeds) + self.searched
        assert len(self.finished()) == planned, self.said()
        assert self.losses() == {trial_id: reference[trial_id] for trial_id in self.finished()}
        assert all(steps <= CHECKPOINT_EVERY for steps in self.redone().values()), self.redone()
        if self.searched:
            counts = self.study()
            assert counts["COMPLETE"] == self.searched
            assert counts.keys() <= {"COMPLETE", "FAIL"}
        assert len([trial for trial in load_run(self.run.path).trials if trial.finished]) == planned
        assert (self.run.path / "report" / "index.html").is_file()


def _parent(process: int) -> int:
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])


def of_seed(case: Case, kind: str, seed: int = 0, **words: int) -> str:
    """A fault of the grid's trial of one seed."""
    return " ".join([kind, f"step={FAULT}", f"trial={case.trial_id(seed)}", *(f"{name}={value}" for name, value in words.items())])
