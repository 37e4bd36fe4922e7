"""Everything that table, figures and page show, computed once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import pyarrow as pa
import pyarrow.compute as pc

from optical_ray.analysis.arms import ArmDifference, arm_differences
from optical_ray.analysis.compare import Comparison, compare, compare_runs
from optical_ray.analysis.curves import Point, ScorerRow, curve_points, language_points, scorer_rows
from optical_ray.analysis.design import Cell, PartView, common_languages, grid_cells, untrained_trials, view_parts
from optical_ray.analysis.importance import Importance, importance
from optical_ray.analysis.load import BITEXT, Axis, Run, Trial
from optical_ray.analysis.outcomes import MEASURES, SUCCESS
from optical_ray.analysis.predicted import Predicted, judge_predictions
from optical_ray.analysis.regression import Regression, fit_regression, regression_table
from optical_ray.analysis.sources import LEXICAL, STUDENT, Sources, open_sources
from optical_ray.analysis.summary import summarise_trials
from optical_ray.retrieval.intervals import Interval, QueryBootstrap


@dataclass(frozen=True)
class Analysis:
    """A run and what its numbers say."""

    run: Run
    sources: Sources
    parts: tuple[PartView, ...]
    cells: tuple[Cell, ...]
    """Finished cells of the grid, by arm and k."""
    smallest: frozenset[str]
    """The languages that every grid trial trains on; curves over k are scored on them."""
    bootstrap: QueryBootstrap
    summary: pa.Table
    """Schema SUMMARY."""
    curves: tuple[Point, ...]
    languages: tuple[Point, ...]
    """Per language, at the largest k."""
    scorers: tuple[ScorerRow, ...]
    comparisons: tuple[Comparison, ...]
    arms: tuple[ArmDifference, ...]
    """Every other arm minus the baseline, at the largest k."""
    predictions: tuple[Predicted, ...] = ()
    other: Run | None = None
    """Another run that this one was compared with."""

    @property
    def axis(self) -> Axis:
        """Whose languages k counts."""
        return self.cells[0].axis if self.cells else BITEXT

    @cached_property
    def regression(self) -> Regression:
        """What goes along with the retrieval of a language; fitted when it is asked for, which takes a second."""
        return fit_regression(regression_table(self.sources, self.parts))

    @cached_property
    def _means(self) -> dict[tuple[str, str, str, str], Interval]:
        wanted = (pc.field("measure") == MEASURES[SUCCESS]) & pc.field("language").is_null() & (pc.field("task") == self.sources.task)
        found = self.summary.filter(wanted)
        keys = zip(*(found[name].to_pylist() for name in ("trial_id", "system", "scorer", "group")), strict=True)
        bounds = zip(*(found[name].to_pylist() for name in ("estimate", "low", "high")), strict=True)
        return {key: Interval(*values) for key, values in zip(keys, bounds, strict=True)}

    @cached_property
    def importances(self) -> tuple[tuple[PartView, Importance], ...]:
        """Of each search part's dimensions; computed when it is asked for."""
        return tuple((part, importance(part)) for part in self.parts if part.kind == "search" and part.space)

    def levels(self, group: str) -> dict[str, float]:
        """Mean Success@1 of the lexical floor and of the untrained student on a group of languages, where there are such, by name."""
        found: dict[str, float] = {}
        scorers = [system.scorer for system in self.sources.systems if system.name == LEXICAL]
        for trial in self.run.trials:
            floor = self.success(trial, group, LEXICAL, scorers[0]) if scorers else None
            if floor is not None:
                found[self.sources.lexical_name] = floor.estimate
                break
        own = [mean.estimate for trial in untrained_trials(self.run) if (mean := self.success(trial, group)) is not None]
        if own:
            found["untrained"] = sum(own) / len(own)
        return found

    def success(self, trial: Trial, group: str, system: str = STUDENT, scorer: str | None = None) -> Interval | None:
        """A trial's mean Success@1 on a group of languages; None where it has none."""
        return self._means.get((trial.trial_id, system, scorer or self.sources.scorer, group))


def analyse(run: Run, bootstrap: QueryBootstrap | None = None, baseline: str | None = None, other: Run | None = None) -> Analysis:
    """Compute summary, curves and comparisons of a run in whatever state it is.

    Args:
        run: Loaded.
        bootstrap: For every interval over sentences.
        baseline: The arm that the others are compared with; None: `compare.choose_baseline`.
        other: Another run, whose cells of the same settings stand beside this one's.

    Raises:
        ConfigError: no finished trial is of the baseline's arm.
    """
    bootstrap = bootstrap or QueryBootstrap()
    parts = view_parts(run)
    sources = open_sources(run)
    smallest = common_languages(parts)
    cells = grid_cells(parts)
    comparisons = compare(sources, parts, cells, smallest, bootstrap, baseline)
    if other is not None:
        comparisons += compare_runs(sources, cells, open_sources(other), grid_cells(view_parts(other)), bootstrap)
    return Analysis(
        run,
        sources,
        tuple(parts),
        tuple(cells),
        smallest,
        bootstrap,
        summarise_trials(sources, parts, bootstrap),
        tuple(curve_points(sources, cells, smallest, bootstrap)),
        tuple(language_points(sources, cells, bootstrap)),
        tuple(scorer_rows(sources, cells, bootstrap)),
        tuple(comparisons),
        tuple(arm_differences(sources, cells, comparisons, baseline)),
        tuple(judge_predictions(run, sources, parts, cells, smallest, bootstrap)),
        other,
    )
