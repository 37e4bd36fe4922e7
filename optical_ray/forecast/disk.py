"""Disk that trials will take, by arithmetic over their recipes; compared with what is free.

With P parameters of a student, stored as float32:

    student     4 P, and the tokenizer beside it
    optimizer   8 P: AdamW keeps two moments of each parameter
    finished    2 students: that of the last step, and that of the best validation
    running     3 x (student + optimizer) while a checkpoint is written beside the two before it, and 2 students while the best is replaced
"""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import try_to_load_from_cache
from safetensors import SafetensorError, safe_open

from optical_ray.encoders.pretrained import find_model
from optical_ray.encoders.teacher import read_dimension
from optical_ray.errors import ModelError, ResourceError
from optical_ray.recipe import Recipe
from optical_ray.runs.comparable import group_by_question, judged_on
from optical_ray.runs.disk import describe_bytes

FLOAT_BYTES = 4
MOMENTS = 2
"""Of AdamW, for each parameter."""
CATALOG_DIMENSION = 384
"""Of the token vectors of the teacher that `teacher.path=catalogs` names (all-MiniLM-L6-v2)."""
PIECE_BYTES = 90
"""Of a tokenizer's files, for each piece of its vocabulary; 65 to 73 were measured, at 2,000 to 32,000 pieces."""
TRIAL_BYTES = 500_000
"""Of a trial's other files: metrics, per-query rows, plan, and what Tune keeps of it."""


@dataclass(frozen=True, slots=True)
class TrialDisk:
    """Bytes of one trial."""

    parameters: int
    student: int
    """One saved student with its tokenizer."""
    finished: int
    """What stays."""
    peak: int
    """At most, while it runs."""


@dataclass(frozen=True, slots=True)
class SweepDisk:
    """Bytes of the trials that are still to run."""

    kept: int
    peak: int
    """At most, at any time: what is kept, and what the trials at a time hold beyond that."""
    unknown: int
    """Trials whose students' size is not known before they are built: a model that is not on this machine."""


def forecast_trial(recipe: Recipe) -> TrialDisk | None:
    """Bytes of a trial; None where the size of its student or teacher cannot be told here: a hub id that is not in the cache.

    An upper bound for a student from scratch, whose vocabulary may end up smaller than it may be.
    """
    try:
        parameters = count_parameters(recipe)
    except ModelError:
        return None
    if parameters is None:
        return None
    pieces = recipe.tokenizer.vocab_size if recipe.student.init == "scratch" else 0
    student = FLOAT_BYTES * parameters + (PIECE_BYTES * pieces if pieces else _tokenizer_bytes(recipe.student.init))
    if recipe.training.max_steps == 0:
        return TrialDisk(parameters, student, student + TRIAL_BYTES, student + MOMENTS * FLOAT_BYTES * parameters + TRIAL_BYTES)
    optimizer = MOMENTS * FLOAT_BYTES * parameters
    return TrialDisk(parameters, student, 2 * student + TRIAL_BYTES, 3 * (student + optimizer) + 2 * student + TRIAL_BYTES)


def forecast_sweep(trials: Sequence[tuple[Recipe, int]], concurrent: int, keep_best: int | None = None) -> SweepDisk:
    """Bytes of all trials together.

    Args:
        trials: Each recipe, and how many trials are as large as it.
        concurrent: At a time.
        keep_best: Students of so many finished trials that are judged on the same languages are kept; None: of all.
    """
    found = [(forecast_trial(recipe), count, judged_on(recipe.to_dict())) for recipe, count in trials]
    known = sorted(
        ((disk, asked) for disk, count, asked in found if disk is not None for _ in range(count)), key=lambda each: -each[0].finished
    )
    kept = 0
    for group in group_by_question(known, lambda each: each[1]):
        kept += sum(disk.finished if keep_best is None or place < keep_best else TRIAL_BYTES for place, (disk, _) in enumerate(group))
    at_work = sorted((disk.peak - (disk.finished if keep_best is None else TRIAL_BYTES) for disk, _ in known), reverse=True)[:concurrent]
    return SweepDisk(kept, kept + sum(at_work), sum(count for disk, count, _ in found if disk is None))


def count_parameters(recipe: Recipe) -> int | None:
    """Of the recipe's student, projection included; None: its model or its teacher is not on this machine.

    Raises:
        ModelError: a folder that it names is no model.
    """
    student, teacher = recipe.student, recipe.teacher
    if teacher.path == "catalogs":
        dimension = CATALOG_DIMENSION
    elif Path(teacher.path).expanduser().is_dir():
        dimension = read_dimension(teacher.path, teacher)
    else:
        return None
    if student.init == "scratch":
        width, inner = student.hidden_size, student.feedforward_size
        positions = max(student.query_form.max_tokens, student.document_form.max_tokens)
        embeddings = (recipe.tokenizer.vocab_size + positions + 2) * width + 2 * width  # pieces, positions, segments; LayerNorm
        attention = 4 * (width * width + width) + 2 * width
        feedforward = width * inner + inner + inner * width + width + 2 * width
        encoder = embeddings + student.num_layers * (attention + feedforward)
    else:
        counted = _count_stored(student.init, student.revision)
        if counted is None:
            return None
        encoder, width = counted
    return encoder + width * dimension + (dimension if student.projection_bias else 0)


def _count_stored(init: str, revision: str | None) -> tuple[int, int] | None:
    """Numbers in a model's weight files, told from their headers, and its width; None: a hub id that is not in the cache."""
    source = find_model(init)
    if Path(source).is_dir():
        folder = Path(source)
    else:
        cached = try_to_load_from_cache(source, "config.json", revision=revision)
        if not isinstance(cached, str):
            return None
        folder = Path(cached).parent
    files = [path for path in folder.rglob("model*.safetensors") if "Dense" not in path.parent.name]
    try:
        width = int(json.loads((folder / "config.json").read_text(encoding="utf-8"))["hidden_size"])
        total = sum(_numbers_in(path) for path in files)
    except (OSError, ValueError, KeyError, SafetensorError):
        return None
    return (total, width) if total else None


def _numbers_in(path: Path) -> int:
    """Numbers in a safetensors file, by the shapes in its header."""
    with safe_open(path, framework="numpy") as stream:
        return sum(math.prod(stream.get_slice(name).get_shape()) for name in stream.keys())  # noqa: SIM118  # a file is no dictionary


def _tokenizer_bytes(init: str) -> int:
    folder = Path(init).expanduser()
    names = ("tokenizer", "vocab", "merges", "special_tokens", "sentencepiece", "spiece")
    return sum(path.stat().st_size for path in folder.glob("*") if path.name.startswith(names)) if folder.is_dir() else 0


def free_bytes(path: Path) -> int:
    """Free on the disk where a folder is, or would be made."""
    return shutil.disk_usage(_nearest(path)).free


def same_disk(first: Path, second: Path) -> bool:
    """Whether two folders lie, or would lie, on one disk."""
    return os.stat(_nearest(first)).st_dev == os.stat(_nearest(second)).st_dev


def _nearest(path: Path) -> Path:
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return path


def bytes_by_place(runs: Path, store: Path, run_bytes: int, store_bytes: int) -> dict[str, int]:
    """What will be written to the disk of each folder, by absolute path: on one disk, all of it to both."""
    if same_disk(runs, store):
        run_bytes = store_bytes = run_bytes + store_bytes
    return {str(runs.absolute()): run_bytes, str(store.absolute()): store_bytes}


def check_disk(runs: Path, store: Path, run_bytes: int, store_bytes: int) -> None:
    """Refuse what does not fit, before anything runs.

    Args:
        runs: Where the run folder goes.
        store: Where artifacts go.
        run_bytes: What the trials will hold at most.
        store_bytes: What is still to be built.

    Raises:
        ResourceError: with the numbers.
    """
    for place, needed in bytes_by_place(runs, store, run_bytes, store_bytes).items():
        free = free_bytes(Path(place))
        if needed > free:
            raise ResourceError(
                f"{place}: the sweep will take up to {describe_bytes(needed)} there, {describe_bytes(free)} are free; make room "
                "(`optical clean`), keep fewer students (--keep-best N), run fewer trials at a time, or choose another disk with --out and "
                "--store"
            )
