"""Paired differences on the same queries: what the sweep's question is answered with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from optical_ray.analysis.curves import largest_cells
from optical_ray.analysis.design import Cell, PartView, name_k, name_series
from optical_ray.analysis.outcomes import MEASURES, SUCCESS, Languages, count_sentences, pair
from optical_ray.analysis.sources import MEAN_REMOVED, Sources
from optical_ray.analysis.summary import ALL, IN_TRAINING, SMALLEST, UNSEEN, group_languages
from optical_ray.errors import ConfigError
from optical_ray.retrieval.intervals import Floats, Interval, QueryBootstrap, adjust_holm
from optical_ray.runs.predictions import FEWER_LANGUAGES, LEXICAL_FLOOR, TRANSLATION_MEMORY, UNTRAINED, Prediction

AGAINST_FLOOR = "against the lexical floor"
AGAINST_MEMORY = "against the translation memory"
AGAINST_UNTRAINED = "against the untrained student"
OWN_SHARE = "OT's own share"
ARMS = "against the baseline"
MORE_LANGUAGES = "more languages"
PRETRAINED = "against no pre-training"
MEAN_REMOVAL = "language-mean removal"
SEARCH = "the search's choice"
GRIDS_SETTING = "the grid's setting"
BESIDE = "against the other run"
PREDICTED = "predicted"

OT_MIXED, CONTRASTIVE = "OT + contrastive", "contrastive"


@dataclass(frozen=True, slots=True)
class Comparison:
    """`first` minus `second`, mean over the group's languages, paired by query, resampled by relevant sentence."""

    kind: str
    first: str
    second: str
    arm: str
    group: str
    languages: tuple[str, ...]
    num_queries: int
    num_sentences: int
    """Different relevant sentences behind the queries: what is resampled."""
    unmatched: int
    """Queries of the group that only one side has: left out."""
    measure: str
    first_mean: float
    second_mean: float
    difference: Interval
    p_holm: float
    """Holm's correction over the comparisons of this kind and measure."""
    direction: Literal["above", "below", "not shown"]
    """What may be claimed: a side only where the interval excludes 0 and `p_holm` is within the level, so that among the comparisons of
    one kind a false claim stays as rare as the interval's level says."""


def compare(
    sources: Sources,
    parts: Iterable[PartView],
    cells: list[Cell],
    smallest: frozenset[str],
    bootstrap: QueryBootstrap,
    baseline: str | None = None,
) -> list[Comparison]:
    """Every comparison that the finished trials allow, in the order of the constants above; by MEASURES.

    The intervals are over relevant sentences, for the trials as they were trained, each at its own level; the directions are corrected for
    the number of comparisons of their kind.
    """
    build = _Builder(sources, bootstrap, smallest)
    largest = list(largest_cells(cells))
    for cell in largest:
        build.add(AGAINST_FLOOR, cell, sources.lexical_name, sources.lexical(cell.trials), (IN_TRAINING, UNSEEN))
    for cell in largest:
        build.add(AGAINST_MEMORY, cell, "translation memory", sources.memory(cell.trials), (IN_TRAINING,))
    untrained = sources.untrained()
    for cell in largest:
        build.add(AGAINST_UNTRAINED, cell, "untrained student", untrained, (IN_TRAINING, UNSEEN))
    for cell, base in pair_with_baseline(largest, baseline):
        build.add(ARMS, cell, name_cell(base), sources.student(base.trials), (IN_TRAINING,))
    for cell in cells:
        rival = _find(cells, CONTRASTIVE, cell)
        if cell.arm == OT_MIXED and rival is not None:
            groups = (IN_TRAINING,) if cell in largest else (SMALLEST,)
            build.add(OWN_SHARE, cell, name_cell(rival), sources.student(rival.trials), groups)
    for cell in largest:
        others = [other for other in cells if (other.arm, other.extras) == (cell.arm, cell.extras) and 0 < other.k < cell.k]
        if others:
            first = min(others, key=lambda other: other.k)
            build.add(MORE_LANGUAGES, cell, name_cell(first), sources.student(first.trials), (SMALLEST,))
    for cell in largest:
        alike = [other for other in cells if other.k == 0 < cell.k and (other.arm, other.fixed) == (cell.arm, cell.fixed)]
        if len(alike) == 1:
            build.add(PRETRAINED, cell, name_cell(alike[0]), sources.student(alike[0].trials), (IN_TRAINING, UNSEEN))
    for cell in largest:
        removed = sources.student(cell.trials, name=MEAN_REMOVED)
        label = f"{name_cell(cell)}, language means removed"
        build.add(MEAN_REMOVAL, cell, name_cell(cell), sources.student(cell.trials), (IN_TRAINING,), first=removed, label=label)
    for part in parts:
        best = part.best
        if best is None:
            continue
        chosen = Cell(best.arm, (), best.k or 0, (best,))
        label = f"{part.name}: {best.trial_id} (best on valid)"
        build.add(SEARCH, chosen, sources.lexical_name, sources.lexical([best]), (IN_TRAINING,), label=label)
        defaults = [cell for cell in cells if (cell.arm, cell.k) == (best.arm, best.k)]
        if len(defaults) == 1:
            label_of_grid = f"{name_cell(defaults[0])}, {GRIDS_SETTING}"
            build.add(SEARCH, chosen, label_of_grid, sources.student(defaults[0].trials), (IN_TRAINING,), label=label)
        elif not cells:  # beside a grid, its own trials are compared with the memory
            build.add(SEARCH, chosen, TRANSLATION_MEMORY, sources.memory([best]), (IN_TRAINING,), label=label)
    return _correct(build.rows, 1.0 - bootstrap.confidence)


def compare_runs(
    sources: Sources, cells: Iterable[Cell], other: Sources, others: Iterable[Cell], bootstrap: QueryBootstrap
) -> list[Comparison]:
    """The cells of a run minus those of another that have the same arm, k and further settings, on the languages that both trained on.

    Queries are paired where both asked the same; what only one has is counted in `unmatched`.
    """
    build = _Builder(sources, bootstrap, frozenset())
    by_setting = {(cell.arm, cell.extras, cell.k): cell for cell in others}
    for cell in cells:
        twin = by_setting.get((cell.arm, cell.extras, cell.k))
        if twin is not None:
            shared = frozenset(cell.trained & twin.trained)
            found = {name: own for name, own in other.student(twin.trials).items() if name in shared}
            own = {name: mine for name, mine in sources.student(cell.trials).items() if name in shared}
            build.add(BESIDE, cell, f"{name_cell(twin)} of {other.run.path.name}", found, (IN_TRAINING,), first=own)
    return _correct(build.rows, 1.0 - bootstrap.confidence)


def compare_predicted(
    sources: Sources,
    cells: list[Cell],
    smallest: frozenset[str],
    bootstrap: QueryBootstrap,
    predictions: Sequence[Prediction],
    sizes: Set[int],
) -> list[list[Comparison]]:
    """For each prediction its comparisons: of every cell of the arm at the largest k that has a counterpart; empty where there is none.

    Directions are corrected over all of them together.

    Args:
        sizes: Every k of the sweep's grid, of trials that failed too: the largest and the smallest are what predictions speak of.
    """
    build = _Builder(sources, bootstrap, smallest)
    largest, least = max(sizes, default=0), min((size for size in sizes if size), default=0)
    ends = []
    for prediction in predictions:
        for cell in (cell for cell in cells if cell.arm == prediction.arm and cell.k == largest):
            counterpart = _counterpart(sources, cells, cell, prediction, least)
            if counterpart is not None:
                group = SMALLEST if prediction.than == FEWER_LANGUAGES else prediction.languages
                build.add(PREDICTED, cell, *counterpart, (group,))
        ends.append(len(build.rows))
    rows = _correct(build.rows, 1.0 - bootstrap.confidence)
    starts = [0, *ends]
    return [[row for row in rows[start:end] if row.measure == MEASURES[SUCCESS]] for start, end in zip(starts, ends, strict=False)]


def _counterpart(sources: Sources, cells: list[Cell], cell: Cell, prediction: Prediction, least: int) -> tuple[str, Languages] | None:
    """What a cell is compared with, and what it is called."""
    if prediction.than == FEWER_LANGUAGES:
        alike = [other for other in cells if (other.arm, other.extras, other.k) == (cell.arm, cell.extras, least) and least < cell.k]
        base = alike[0] if alike else None
    elif prediction.than == LEXICAL_FLOOR:
        return sources.lexical_name, sources.lexical(cell.trials)
    elif prediction.than == TRANSLATION_MEMORY:
        return prediction.than, sources.memory(cell.trials)
    elif prediction.than == UNTRAINED:
        return prediction.than, sources.untrained()
    else:
        base = _find(cells, prediction.than, cell)
    return None if base is None else (name_cell(base), sources.student(base.trials))


def choose_baseline(cells: Iterable[Cell], baseline: str | None = None) -> str | None:
    """The arm that the others are compared with: the one asked for, else contrastive, else OT, else the first; None without cells.

    Raises:
        ConfigError: no finished cell is of the arm asked for.
    """
    arms = list(dict.fromkeys(cell.arm for cell in cells))
    if baseline is not None and arms and baseline not in arms:
        raise ConfigError(f"baseline {baseline!r}: no finished trial of the largest k is of this arm; there are {', '.join(arms)}")
    return baseline or next((arm for arm in (CONTRASTIVE, "OT", *arms) if arm in arms), None)


def pair_with_baseline(largest: Sequence[Cell], baseline: str | None = None) -> list[tuple[Cell, Cell]]:
    """Every cell of another arm with the baseline's cell of the same further settings, where there is one.

    Raises:
        ConfigError: as `choose_baseline`.
    """
    arm = choose_baseline(largest, baseline)
    found = [(cell, _find(largest, arm, cell)) for cell in largest if arm is not None and cell.arm != arm]
    return [(cell, base) for cell, base in found if base is not None]


def name_cell(cell: Cell) -> str:
    """As tables name it: `OT, k = 16`."""
    return f"{cell.series if cell.k else name_series(cell.arm, cell.fixed)}, {name_k(cell.k)}"


def _find(cells: Iterable[Cell], arm: str, like: Cell) -> Cell | None:
    matches = [cell for cell in cells if cell.arm == arm and cell.k == like.k and cell.extras == like.extras]
    return matches[0] if matches else None


class _Builder:
    def __init__(self, sources: Sources, bootstrap: QueryBootstrap, smallest: frozenset[str]) -> None:
        self.sources, self.bootstrap, self.smallest = sources, bootstrap, smallest
        self.rows: list[Comparison] = []

    def add(
        self,
        kind: str,
        cell: Cell,
        second: str,
        outcomes: Languages,
        groups: Iterable[str],
        first: Languages | None = None,
        label: str = "",
    ) -> None:
        """Append the comparison of a cell's student (or of `first`) with other outcomes; nothing where either has none."""
        own = first if first is not None else self.sources.student(cell.trials)
        members = group_languages(own, cell.trained, cell.ever_trained, self.smallest)
        for group in groups:
            paired = pair(own, outcomes, members.get(group, ()))
            if not paired.first:
                continue
            shown = ALL if set(paired.first) == set(members[ALL]) else group
            differences = self.bootstrap.differences_over_languages(paired.first, paired.second, paired.relevant)
            num_sentences = count_sentences(paired.relevant)
            means = zip(MEASURES, _means(paired.first), _means(paired.second), differences, strict=True)
            for name, first_mean, second_mean, difference in means:
                self.rows.append(
                    Comparison(
                        kind, label or name_cell(cell), second, cell.arm, shown, tuple(sorted(paired.first)), paired.num_queries,
                        num_sentences, paired.unmatched, name, first_mean, second_mean, difference, 1.0, "not shown",
                    )
                )  # fmt: skip


def _correct(rows: list[Comparison], level: float) -> list[Comparison]:
    families: dict[tuple[str, str], list[int]] = {}
    for index, row in enumerate(rows):
        families.setdefault((row.kind, row.measure), []).append(index)
    corrected = list(rows)
    for places in families.values():
        for index, p_value in zip(places, adjust_holm([rows[index].difference.p_value for index in places]), strict=True):
            difference = rows[index].difference
            shown = difference.excludes_zero and p_value <= level
            direction: Literal["above", "below", "not shown"] = "not shown" if not shown else "above" if difference.low > 0 else "below"
            corrected[index] = replace(rows[index], p_holm=p_value, direction=direction)
    return corrected


def _means(values: Mapping[str, Floats]) -> list[float]:
    """Mean over languages of each measure."""
    return [float(mean) for mean in np.mean([values_QM.mean(0) for values_QM in values.values()], axis=0)]
