"""What is compared with what, and how long it is looked at. Contenders of a group take turns, block by block, in rotating order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.training.contender import (
    INSTALL,
    PYLATE,
    SENTENCE_TRANSFORMERS,
    Contender,
    ContenderFailed,
    Running,
    find_python,
    ours,
    ours_both_sides,
    theirs,
)
from benchmarks.training.rows import Row, summarise
from benchmarks.training.world import World

SECTIONS = ("equal", "defaults", "bucketing", "cache", "workers", "share")
SAME_STATES = 1e-3
"""Relative difference of the encoder's states within which two contenders are said to train the same encoder (their attention kernels and
versions of transformers differ)."""

OT = "<T, C> between the student's tokens of the foreign side and the teacher's of the English side, which are given"
OT_BOTH = (
    f"{OT}; contrast by MaxSim of each foreign sentence against each English one of its group; pooled MSE of the student's own English"
)
MSE = "squared error of the mean-pooled foreign side against the teacher's sentence vector, which is given"
MSE_BOTH = "squared error of the mean-pooled foreign side, and of the English one, against the teacher's sentence vector, which is given"
CONTRASTIVE = "MaxSim of each foreign sentence against each English one of the batch, both read by the student; no teacher"
NAME_OURS, NAME_ST, NAME_PYLATE = "optical_ray", "Sentence-Transformers", "PyLate"


@dataclass(frozen=True, slots=True)
class Group:
    """Contenders that are measured together; the first is ours, and what ratios are to."""

    section: str
    name: str
    contenders: tuple[Contender, ...]
    blocks: int
    steps: int
    """Of a block."""
    warm_up: int
    """Steps."""
    paired: bool
    """Whether a block holds the same pairs for all: then ratios are taken block by block, else of the sums."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How long is looked."""

    equal_blocks: int = 5
    blocks: int = 8
    """Of `defaults` and `bucketing`, in which the window is read once."""
    short_blocks: int = 3
    short_steps: int = 4
    warm_up: int = 2


def make_groups(world: World, threads: int, effort: Effort, fixed: int, window: int) -> list[Group]:
    """All groups of all sections.

    Args:
        threads: Of every contender, but where `workers` says otherwise.
        fixed: Batches in `world.fixed`.
        window: Steps in `world.texts`.
    """
    short, long = (effort.short_blocks, effort.short_steps), (effort.blocks, window // effort.blocks)
    usual = ours(NAME_OURS, f"foreign side: {OT}", world, threads)
    st = {"environment": SENTENCE_TRANSFORMERS, "cache": True}
    pylate = {"environment": PYLATE, "shipped_lengths": False}
    one = (
        ours(NAME_OURS, OT, world, threads, fixed=True),
        theirs(NAME_ST, MSE, world, threads, fixed=True, both_sides=False, **st),
    )
    two = (
        ours_both_sides(NAME_OURS, OT_BOTH, world, threads, fixed=True),
        theirs(NAME_ST, MSE_BOTH, world, threads, fixed=True, both_sides=True, **st),
        theirs(NAME_PYLATE, CONTRASTIVE, world, threads, fixed=True, **pylate),
    )
    defaults = (
        usual,
        ours_both_sides(f"{NAME_OURS}, both sides", f"both sides: {OT_BOTH}", world, threads),
        theirs(f"{NAME_ST}, both sides", f"both sides: {MSE_BOTH}", world, threads, both_sides=True, **st),
        theirs(f"{NAME_ST}, foreign side", f"foreign side: {MSE}", world, threads, both_sides=False, **st),
        theirs(
            f"{NAME_PYLATE}, 64 tokens", f"both sides: {CONTRASTIVE}; padded to 64 tokens, no query expansion", world, threads, **pylate
        ),
    )
    as_it_is = theirs(
        f"{NAME_PYLATE}, as it is",
        f"both sides: {CONTRASTIVE}; padded to the lengths it ships with, 32 and 180",
        world,
        threads,
        PYLATE,
        shipped_lengths=True,
    )
    unsorted = ours(f"{NAME_OURS}, no bucketing", "the same pairs in random order", world, threads, batch__length_window=1)
    cached = ours(f"{NAME_OURS}, teacher cached", OT, world, threads)
    online = ours(f"{NAME_OURS}, teacher online", "the teacher reads the English side of every batch", world, threads, teacher__cache=False)
    once = theirs(f"{NAME_ST}, targets once", MSE, world, threads, both_sides=False, **st)
    always = theirs(
        f"{NAME_ST}, targets at every batch",
        "the teacher reads the English side of every batch",
        world,
        threads,
        both_sides=False,
        **(st | {"cache": False}),
    )
    alone = ours("one worker, two threads", OT, world, 2)
    workers = (
        alone,
        ours("one worker, one thread", OT, world, 1),
        ours("two workers, one thread each", OT, world, 1, workers=2),
    )
    share = ours(NAME_OURS, f"{OT}; a report every 10 steps, five times as many as by default", world, threads, training__report_every=10)
    warm_up = effort.warm_up
    return [
        Group("equal", "one side read", one, effort.equal_blocks, fixed, fixed, paired=True),
        Group("equal", "both sides read", two, effort.equal_blocks, fixed, fixed, paired=True),
        Group("defaults", "as shipped", defaults, *long, warm_up, paired=False),
        Group("defaults", "PyLate as it is", (usual, as_it_is), *long, warm_up, paired=False),  # apart: six at once would need 20 GB
        Group("bucketing", "on and off", (usual, unsorted), *long, warm_up, paired=False),
        Group("cache", "on and off", (cached, online), *short, warm_up, paired=True),
        Group("cache", "theirs", (once, always), *short, warm_up, paired=False),
        Group("workers", "two cores", workers, *short, warm_up, paired=True),
        Group("share", "of the encoder", (share,), effort.equal_blocks, effort.short_steps, warm_up, paired=True),
    ]


def measure(group: Group, interop: Path, folder: Path, say: Callable[[str], None]) -> tuple[list[Row], list[dict[str, Any]]]:
    """A row for each contender, also for one that is not installed or fails; and what each said, block by block."""
    facts, notes, blocks = take_turns(group, interop, folder, say)
    check_states(facts, notes)
    where = {"section": group.section, "group": group.name}
    said = [where | {"contender": name, **facts.get(name, {}), "blocks": found} for name, found in blocks.items()]
    return summarise(group, facts, notes, blocks), said


def take_turns(
    group: Group, interop: Path, folder: Path, say: Callable[[str], None]
) -> tuple[dict[str, dict[str, Any]], dict[str, str], dict[str, list[dict[str, float]]]]:
    """By contender: what it said at its start; why there is nothing (more) of it; what it said of its blocks."""
    running: dict[str, Running] = {}
    facts: dict[str, dict[str, Any]] = {}
    notes: dict[str, str] = {}
    blocks: dict[str, list[dict[str, float]]] = {contender.name: [] for contender in group.contenders}

    def attempt(contender: Contender, work: Callable[[Contender], None]) -> None:
        try:
            work(contender)
        except ContenderFailed as error:
            notes[contender.name] = f"fails: {error}"
            if (failed := running.pop(contender.name, None)) is not None:
                failed.close()

    def start(contender: Contender) -> None:
        python = find_python(interop, contender.environment)
        if python is None:
            notes[contender.name] = INSTALL
            return
        say(f"{contender.name} starts")
        running[contender.name] = Running(contender, python, folder / str(group.contenders.index(contender)), group.warm_up)
        facts[contender.name] = running[contender.name].wait()
        running[contender.name].block(group.warm_up)

    def step(contender: Contender) -> None:
        blocks[contender.name].append(running[contender.name].block(group.steps))

    try:
        for contender in group.contenders:
            attempt(contender, start)
        for repeat in range(group.blocks):
            shift = repeat % len(group.contenders)
            for contender in [*group.contenders[shift:], *group.contenders[:shift]]:
                if contender.name in running:
                    say(f"block {repeat + 1} of {group.blocks}: {contender.name}")
                    attempt(contender, step)
    finally:
        for process in running.values():
            process.close()
    return facts, notes, blocks


def check_states(facts: dict[str, dict[str, Any]], notes: dict[str, str]) -> None:
    """Who trains another encoder than ours is not compared with it."""
    states = {name: told["states"] for name, told in facts.items() if "states" in told}
    if states:
        first = next(iter(states.values()))
        for name, value in states.items():
            if abs(value / first - 1) > SAME_STATES:
                notes[name] = f"fails: its encoder gives states of size {value:.5f}, ours {first:.5f}: not the same encoder"
