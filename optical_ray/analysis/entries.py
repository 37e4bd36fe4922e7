"""What can be compared: a system of an evaluation folder, of a trial, or of every setting of a run; seeds of one setting are one entry.

out/afriqa            evaluation.json + queries.parquet, as `optical evaluate` writes them
runs/NAME/trials/ID   a finished trial
runs/NAME             its grid's settings and the trial that each search chose on validation
PATH:SYSTEM:SCORER    another system (default: student, else zero-shot, else the only one) and scorer than the default
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from optical_ray.analysis.design import ARM_FIELDS, REPLICATE_FIELDS, SIZE_FIELD, short, show, title_trial, view_parts
from optical_ray.analysis.load import Trial, load_run, read_trial
from optical_ray.analysis.sources import DEFAULT_SCORER, STUDENT, ZERO_SHOT
from optical_ray.errors import ConfigError, RunFolderError
from optical_ray.runs.folder import RunFolder, TrialFolder, read_object
from optical_ray.runs.query_rows import read_query_rows
from optical_ray.runs.schemas import FORMAT_VERSION

EVALUATION = "evaluation.json"
SHOWN_FIELDS = 3
"""Recipe fields that a label names, at most."""


@dataclass(frozen=True, slots=True)
class Replicate:
    """The rows of one training."""

    seed: str
    """`seed=3`; empty where nothing was trained with one."""
    rows: pa.Table
    """Schema `runs.query_rows.ROWS`: one system, one scorer."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One system of one setting."""

    label: str
    scorer: str
    replicates: tuple[Replicate, ...]
    """At least one; several: trainings that differ in their seeds alone."""


@dataclass(frozen=True, slots=True)
class _Found:
    """The rows of a folder, before a system is chosen of them."""

    text: str
    """As the user named it."""
    label: str
    rows: pa.Table
    fields: Mapping[str, Any] | None = None
    """A trial's recipe, by dotted name."""
    arm: str = ""
    """Of a trial: `OT, k = 4`."""
    scorer: str = DEFAULT_SCORER
    system: str | None = None
    """Asked for."""
    asked_scorer: str | None = None
    setting: tuple[Any, ...] = field(default=())
    """Equal for trials that differ in seeds alone."""


def open_entries(arguments: Sequence[str], split: str | None = None, scorer: str | None = None) -> list[Entry]:
    """Everything that the arguments name, in their order.

    Trials that differ in seeds alone become one entry, unless nothing but one entry would be left to compare.

    Args:
        arguments: PATH, PATH:SYSTEM or PATH:SYSTEM:SCORER.
        split: Rows of this split; None: `test`, or the only one that all of them have.
        scorer: Of every entry that has it, unless its argument names another.

    Raises:
        RunFolderError: a path is not there, is none of the three kinds of folder, or has no rows that can be compared.
        ConfigError: a system, scorer or split that is not there; what is there is named.
    """
    found = _name_settings([item for text in arguments for item in _open(text)])
    found = _choose_split(found, split)
    chosen = [_choose(item, scorer) for item in found]
    groups: dict[tuple[Any, ...], list[tuple[_Found, str, str]]] = {}
    for number, (item, system, own_scorer) in enumerate(chosen):
        key = (item.setting, system, own_scorer) if item.setting else (number,)
        groups.setdefault(key, []).append((item, system, own_scorer))
    if len(groups) < 2:
        groups = {(number,): [item] for number, item in enumerate(chosen)}
    entries = [_entry(members) for members in groups.values()]
    return _tell_apart(entries, [members[0][0].text for members in groups.values()])


def _open(text: str) -> list[_Found]:
    path, system, scorer = _split_argument(text)
    if (path / EVALUATION).is_file():
        found = [_Found(text, path.resolve().name, _read_evaluation(path))]
    elif (path / "sweep.json").is_file():
        found = _open_run(text, path)
    elif (path / "recipe.json").is_file():
        trial, rows = read_trial(TrialFolder(path))
        if not trial.finished:
            raise RunFolderError(f"{path}: the trial is {trial.state}; only a finished trial has rows that count")
        if rows is None or rows.num_rows == 0:
            raise RunFolderError(f"{path}: {'; '.join(trial.problems)}")
        found = [_of_trial(text, trial, rows)]
    else:
        raise RunFolderError(
            f"{path}: holds neither {EVALUATION} (of an evaluation) nor recipe.json (of a trial) nor sweep.json (of a run); name a folder "
            "that `optical evaluate --out` wrote, a trial such as runs/NAME/trials/ID, or a run"
        )
    return [replace(item, system=system, asked_scorer=scorer) for item in found]


def _split_argument(text: str) -> tuple[Path, str | None, str | None]:
    parts = text.split(":")
    for count in range(len(parts), max(0, len(parts) - 3), -1):
        path = Path(":".join(parts[:count]))
        if path.is_dir():
            rest = [part or None for part in parts[count:]] + [None, None]
            return path, rest[0], rest[1]
    raise RunFolderError(f"{text}: no such folder; expected PATH, PATH:SYSTEM or PATH:SYSTEM:SCORER")


def _read_evaluation(path: Path) -> pa.Table:
    values = read_object(path / EVALUATION)
    if values.get("format_version", FORMAT_VERSION) != FORMAT_VERSION:
        raise RunFolderError(f"{path / EVALUATION}: format version {values['format_version']}, this one reads {FORMAT_VERSION}")
    if not (path / "queries.parquet").is_file():
        raise RunFolderError(f"{path}: no queries.parquet beside {EVALUATION}; the evaluation has not finished: run it again")
    rows = read_query_rows(path / "queries.parquet")
    if rows.num_rows == 0:
        raise RunFolderError(f"{path}: queries.parquet has no row; nothing was evaluated")
    return rows


def _open_run(text: str, path: Path) -> list[_Found]:
    run = load_run(path)
    trials = []
    for part in view_parts(run):
        trials += ([part.best] if part.best else []) if part.kind == "search" else [trial for trial in part.trials if trial.finished]
    found = []
    for trial in trials:
        _, rows = read_trial(RunFolder(path).trial(trial.trial_id))
        if rows is not None and rows.num_rows:
            found.append(_of_trial(text, trial, rows))
    if not found:
        raise RunFolderError(f"{path}: no trial has finished with test rows; wait for one, or see `optical report {path}`")
    return found


def _of_trial(text: str, trial: Trial, rows: pa.Table) -> _Found:
    arm = title_trial(trial)
    setting = tuple(sorted((name, repr(value)) for name, value in trial.fields.items() if name not in REPLICATE_FIELDS))
    scorer = str(trial.fields.get("evaluation.scorer") or DEFAULT_SCORER)
    return _Found(text, trial.trial_id, rows, trial.fields, arm, scorer, setting=setting)


def _name_settings(found: list[_Found]) -> list[_Found]:
    """Trials by arm, k and what else differs between them but seeds: `OT, k = 4, epsilon 0.1 (0123456789ab)`."""
    recipes = [item.fields for item in found if item.fields is not None]
    names = dict.fromkeys(name for fields in recipes for name in fields if name not in (*ARM_FIELDS, *REPLICATE_FIELDS, SIZE_FIELD))
    varying = [name for name in names if len({repr(fields.get(name)) for fields in recipes}) > 1]
    told = []
    for item in found:
        if item.fields is None:
            told.append(item)
            continue
        values = [f", {short(name)} {show(item.fields.get(name))}" for name in varying[:SHOWN_FIELDS]]
        more = ", ..." if len(varying) > SHOWN_FIELDS else ""
        told.append(replace(item, label=f"{item.arm}{''.join(values)}{more} ({item.label})"))
    return told


def _choose_split(found: list[_Found], split: str | None) -> list[_Found]:
    """Keep the rows of one split, the same in all."""
    splits = [_values(item.rows, "split") for item in found]
    shared = sorted(set.intersection(*map(set, splits)))
    named = "; ".join(f"{item.text} has {', '.join(own) or 'no row'}" for item, own in zip(found, splits, strict=True))
    if split is None and len(shared) > 1:
        split = "test" if "test" in shared else None
        if split is None:
            raise ConfigError(f"several splits ({', '.join(shared)}); choose one with --split")
    if split is None and not shared:
        raise ConfigError(f"different splits: {named}; a comparison needs the same queries: evaluate them on the same split")
    wanted = split if split is not None else shared[0]
    if wanted not in shared:
        raise ConfigError(f"split {wanted!r} is not in all of them: {named}")
    return [replace(item, rows=_where(item.rows, "split", wanted)) for item in found]


def _choose(item: _Found, scorer: str | None) -> tuple[_Found, str, str]:
    """(rows of one system and scorer, the system, the scorer)"""
    systems = _values(item.rows, "system")
    system = item.system or next((name for name in (STUDENT, ZERO_SHOT) if name in systems), systems[0] if len(systems) == 1 else None)
    if system not in systems:
        what = f"no system {system!r}" if system else "several systems"
        raise ConfigError(f"{item.text}: {what}; it has {', '.join(systems)}: choose one as PATH:SYSTEM")
    rows = _where(item.rows, "system", system)
    scorers = _values(rows, "scorer")
    wanted = [item.asked_scorer, scorer, item.scorer, DEFAULT_SCORER, scorers[0] if len(scorers) == 1 else None]
    found = next((name for name in wanted if name in scorers), None)
    if found is None or (item.asked_scorer is not None and found != item.asked_scorer) or (scorer and found != scorer and len(scorers) > 1):
        missing = item.asked_scorer or scorer
        what = f"no scorer {missing!r}" if missing else "several scorers"
        raise ConfigError(f"{item.text}: {system} has {what}; it has {', '.join(scorers)}: choose one as PATH:{system}:SCORER")
    rows = _where(rows, "scorer", found)
    return replace(item, rows=rows, system=item.system), system, found


def _entry(members: Sequence[tuple[_Found, str, str]]) -> Entry:
    item, system, scorer = members[0]
    label = item.label
    if len(members) > 1:
        label = f"{label.rpartition(' (')[0]} ({len(members)} seeds)"
    if item.system or system != STUDENT:
        label += f":{system}"
    if item.asked_scorer:
        label += f":{scorer}"
    return Entry(label, scorer, tuple(Replicate(_seed(member.fields), member.rows) for member, _, _ in members))


def _values(rows: pa.Table, column: str) -> list[str]:
    return sorted(rows[column].cast(pa.string()).unique().to_pylist())


def _where(rows: pa.Table, column: str, value: str) -> pa.Table:
    return rows.filter(pc.equal(rows[column].cast(pa.string()), value))


def _seed(fields: Mapping[str, Any] | None) -> str:
    if fields is None:
        return ""
    named = [f"{name}={fields[name]}" for name in REPLICATE_FIELDS if fields.get(name) is not None]
    return " ".join(named)


def _tell_apart(entries: Sequence[Entry], texts: Iterable[str]) -> list[Entry]:
    """Entries with labels of their own: those that would be called alike are called as the user named them."""
    labels = [entry.label for entry in entries]
    named = [text if labels.count(label) > 1 else label for label, text in zip(labels, texts, strict=True)]
    told = [f"{name} [{place}]" if named.count(name) > 1 else name for place, name in enumerate(named, 1)]
    return [replace(entry, label=label) for entry, label in zip(entries, told, strict=True)]
