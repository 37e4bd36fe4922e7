"""Where everything of a run lies, and how it is appended and read. No result is ever rewritten, only status files are."""

from __future__ import annotations

import contextlib
import datetime
import json
import math
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from optical_ray.artifacts import write_json
from optical_ray.errors import RunFolderError
from optical_ray.runs.schemas import FORMAT_VERSION, QUERIES, MetricRow, SweepRecord, TrialStatus

POSITION = "position.json"
"""Of a checkpoint: written into it last, so a folder that has it is whole."""
OPTIMIZER = "optimizer.pt"
"""Of a checkpoint: what a trial that has not finished needs to go on."""
BEST = "best"
"""The checkpoint of the best validation, beside the `step-*` ones."""


def utc_now() -> str:
    """The time as every file writes it: UTC, ISO 8601, seconds."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


@dataclass(frozen=True, slots=True)
class TrialFolder:
    """One trial's files. Killed at any moment, what is here is whole up to the last report."""

    path: Path

    @property
    def trial_id(self) -> str:
        return self.path.name

    @property
    def recipe(self) -> Path:
        return self.path / "recipe.json"

    @property
    def resources(self) -> Path:
        return self.path / "resources.json"

    @property
    def plan(self) -> Path:
        """Languages, rows and draws per language, entropy, and the digest of the row sequence."""
        return self.path / "plan.json"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def queries(self) -> Path:
        return self.path / "queries.parquet"

    @property
    def checkpoint(self) -> Path:
        return self.path / "checkpoint"

    @property
    def provenance(self) -> Path:
        """Of every start: when, resources, versions, git state, hardware."""
        return self.path / "provenance.json"

    @property
    def artifacts(self) -> Path:
        """What of the store the trial stands on."""
        return self.path / "artifacts.json"

    @property
    def hang(self) -> Path:
        """Where every thread of its process was when it had said nothing for too long; empty, or not there, otherwise."""
        return self.path / "hang.txt"

    @property
    def lock(self) -> Path:
        """Held by the process that runs the trial."""
        return self.path / ".lock"

    def drop_checkpoints(self) -> None:
        """Forget what a training would continue from; the best student stays. Started again, the training begins anew."""
        for path in self.checkpoint.glob("step-*"):
            shutil.rmtree(path, ignore_errors=True)

    def read_status(self) -> TrialStatus | None:
        """The status, or None when the trial has not started.

        Raises:
            RunFolderError: it cannot be read, or is of another format version.
        """
        path = self.path / "status.json"
        if not path.is_file():
            return None
        try:
            values = read_object(path)
        except RunFolderError as error:
            raise RunFolderError(f"{error}; remove it, and the trial runs again from its last checkpoint") from None
        _check_version(path, values)
        return TrialStatus.parse(values, str(path))

    def write_status(self, status: TrialStatus) -> None:
        write_json(self.path / "status.json", status.to_dict())

    def append_metrics(self, step: int, resumed_from: int | None, values: Mapping[str, float]) -> None:
        """Append one report and force it to disk; non-finite values are written as null."""
        self.path.mkdir(parents=True, exist_ok=True)
        lines = []
        for name, value in values.items():
            finite = float(value) if math.isfinite(value) else None
            lines.append(json.dumps({"step": step, "resumed_from": resumed_from, "name": name, "value": finite}) + "\n")
        with self.metrics.open("ab+") as stream:
            if stream.tell() and stream.seek(-1, os.SEEK_END) is not None and stream.read(1) != b"\n":
                stream.write(b"\n")  # a kill left half a line: it must not swallow the next one
            stream.write("".join(lines).encode())
            stream.flush()
            os.fsync(stream.fileno())

    def read_metrics(self) -> list[MetricRow]:
        """The rows that count, by step: a resumed attempt supersedes what an older one wrote beyond its checkpoint.

        A half-written last line (a kill) is left out.
        """
        if not self.metrics.is_file():
            return []
        rows: list[MetricRow] = []
        seen: set[tuple[int, str]] = set()
        for found in _parse_lines(self.metrics.read_text(encoding="utf-8")):
            row = MetricRow(found["step"], found["resumed_from"], found["name"], found["value"])
            if (row.step, row.name) in seen or (rows and row.step < rows[-1].step):  # a new attempt begins
                keep_to = -1 if row.resumed_from is None else row.resumed_from
                rows = [old for old in rows if old.step <= keep_to]
                seen = {(old.step, old.name) for old in rows}
            rows.append(row)
            seen.add((row.step, row.name))
        return rows

    def write_queries(self, table: pa.Table) -> None:
        """Write the per-query outcomes whole or not at all; the schema is enforced."""
        self.path.mkdir(parents=True, exist_ok=True)
        scratch = self.queries.with_name(f".{self.queries.name}.{os.getpid()}")
        pq.write_table(table.select(QUERIES.names).cast(QUERIES), scratch, compression="zstd")
        os.replace(scratch, self.queries)


@dataclass(frozen=True, slots=True)
class RunFolder:
    """`runs/<sweep>-<fingerprint>/`."""

    path: Path

    @property
    def study(self) -> Path:
        """Optuna's journal."""
        return self.path / "study.journal"

    @property
    def ray(self) -> Path:
        """Tune's own folder."""
        return self.path / "ray"

    @property
    def report(self) -> Path:
        return self.path / "report"

    @property
    def tasks(self) -> Path:
        return self.path / "tasks"

    @property
    def driver_lock(self) -> Path:
        """Held by the driver of a sweep that is running."""
        return self.path / ".driver.lock"

    def trial(self, trial_id: str) -> TrialFolder:
        return TrialFolder(self.path / "trials" / trial_id)

    def trials(self) -> Iterator[TrialFolder]:
        """Every trial that has a recipe, in order of id."""
        folder = self.path / "trials"
        for path in sorted(folder.iterdir()) if folder.is_dir() else []:
            if (path / "recipe.json").is_file():
                yield TrialFolder(path)

    def write_sweep(self, record: SweepRecord) -> None:
        write_json(self.path / "sweep.json", record.to_dict())

    def read_sweep(self) -> SweepRecord:
        """What was asked.

        Raises:
            RunFolderError: not a run folder, or one of another format version.
        """
        path = self.path / "sweep.json"
        if not self.path.is_dir():
            raise RunFolderError(f"{self.path}: no such folder; expected a run folder such as runs/quickstart-0123456789ab")
        if not path.is_file():
            raise RunFolderError(f"{self.path}: not a run folder (it has no sweep.json)")
        values = read_object(path)
        _check_version(path, values)
        return SweepRecord.parse(values, str(path))


def write_table_once(path: Path, table: pa.Table) -> None:
    """Write a Parquet file that several trials may want to write at once: the first one stays."""
    if path.is_file():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    pq.write_table(table, scratch, compression="zstd")
    os.replace(scratch, path)


def read_queries(trials: Iterable[TrialFolder], columns: list[str] | None = None) -> Iterator[tuple[str, pa.Table]]:
    """(trial id, per-query rows) of the trials that have them."""
    for trial in trials:
        if trial.queries.is_file():
            yield trial.trial_id, pq.read_table(trial.queries, columns=columns, partitioning=None)


def read_object(path: Path) -> dict[str, Any]:
    """A JSON file that holds an object.

    Raises:
        RunFolderError: it cannot be read, or holds something else.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise RunFolderError(f"{path}: cannot be read ({error})") from None
    if not isinstance(values, dict):
        raise RunFolderError(f"{path}: expected a JSON object, found {type(values).__name__}")
    return values


def _check_version(path: Path, values: Mapping[str, Any]) -> None:
    found = values.get("format_version")
    if found != FORMAT_VERSION:
        raise RunFolderError(f"{path}: format version {found}, this one reads {FORMAT_VERSION}; use the optical_ray that wrote it")


def _parse_lines(text: str) -> list[Any]:
    """The JSON of every line; lines that are not whole are left out."""
    lines = [line for line in text.splitlines() if line]
    try:
        whole: list[Any] = json.loads(f"[{','.join(lines)}]")  # one call takes a quarter of the time of one for each line
    except json.JSONDecodeError:
        pass
    else:
        return whole
    found = []
    for line in lines:
        with contextlib.suppress(json.JSONDecodeError):
            found.append(json.loads(line))
    return found
