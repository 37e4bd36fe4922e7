"""Figures of what stands beside quality: arms beside a baseline, cost, the plan's entropy, pairs of temperatures, importance."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.ticker import NullLocator

from optical_ray.analysis.analyse import Analysis
from optical_ray.analysis.arms import ArmDifference
from optical_ray.analysis.design import PartView, describe_trial, section_trials, short
from optical_ray.analysis.figures import MOST_SHAPES, log_ticks
from optical_ray.analysis.importance import Importance
from optical_ray.analysis.load import Trial
from optical_ray.analysis.phrases import plural
from optical_ray.analysis.style import INK, MUTED, PAPER, HoverPoint, Panel, colours_of, hover, label_lines, new_axes, save, style, wrap
from optical_ray.analysis.summary import ALL
from optical_ray.runs import names
from optical_ray.runs.objectives import pareto_front

HEAT = ("transport.epsilon", "objective.temperature", "mixing.temperature")
"""Of these, every pair that a part varies is a map."""
COLOURS = "cividis"


def draw_arms(arms: Sequence[ArmDifference]) -> list[Panel]:
    """A row for each arm: the difference with its interval over sentences, seeds as points, from five on their interval."""
    if not arms:
        return []
    with style():
        labels = [wrap(arm.comparison.first) for arm in arms]
        figure, axes = new_axes(6.4, 1.1 + sum(0.35 + 0.2 * (1 + label.count("\n")) for label in labels))
        axes.grid(True, axis="x")
        axes.grid(False, axis="y")
        axes.axvline(0.0, color=INK, linewidth=0.9)
        looks = colours_of((arm.comparison.first, arm.comparison.arm) for arm in arms)
        for row, arm in enumerate(reversed(arms)):
            colour, marker = looks[arm.comparison.first]
            interval = arm.comparison.difference
            axes.plot([interval.low, interval.high], [row, row], color=colour, linewidth=1.8, solid_capstyle="butt")
            face = PAPER if arm.comparison.direction == "not shown" else colour
            axes.plot([interval.estimate], [row], marker=marker, markersize=7, color=colour, markerfacecolor=face, linestyle="none")
            if len(arm.seeds) > 1:
                axes.plot(arm.seeds, [row - 0.22] * len(arm.seeds), marker="|", markersize=8, color=colour, linestyle="none")
            if arm.over_seeds is not None:
                axes.plot([arm.over_seeds.low, arm.over_seeds.high], [row - 0.22] * 2, color=colour, linewidth=0.9)
        axes.set_yticks(range(len(arms)), list(reversed(labels)))
        axes.set_ylim(-0.7, len(arms) - 0.4)
        axes.tick_params(axis="y", length=0)
        bases = sorted({arm.comparison.second for arm in arms})
        axes.set_xlabel(
            wrap(f"Success@1 minus that of {' or '.join(bases)}", 70) if len(bases) < 3 else "Success@1 minus that of the baseline's"
        )
        told = "; ".join(f"{arm.comparison.first} {arm.comparison.difference.estimate:+.3f}" for arm in arms)
        return [save(figure, "arms", "Arms beside the baseline", f"Differences of Success@1 from the baseline. {told}")]


def draw_relations(analysis: Analysis) -> list[Panel]:
    """Quality against cost, and against what the plan was like, for the trials that show their test score."""
    trials = [
        trial for part in analysis.parts if part.kind != "search" for trial in part.trials if trial.finished and _quality(analysis, trial)
    ]
    panels = []
    on_gpu = any(trial.status and trial.status.gpu_seconds for trial in trials)
    for name, title, label, value in (
        ("cost", "Quality against cost", "GPU hours" if on_gpu else "CPU hours", _gpu_hours if on_gpu else _cpu_hours),
        ("entropy-quality", "Quality against the plan's entropy", "normalised plan entropy, last report", _last(names.TRANSPORT_ENTROPY)),
        ("converged-quality", "Quality against convergence", "share of converged plans, last report", _last(names.TRANSPORT_CONVERGED)),
    ):
        points = [(found, trial) for trial in trials if (found := value(trial)) is not None]
        if len({round(x, 9) for x, _ in points}) > 1:
            with style():
                panels.append(_draw_relation(analysis, name, title, label, points))
    return panels


def draw_heat(analysis: Analysis) -> list[Panel]:
    """Validation Success@1 over every two of HEAT that vary in a part: a grid's mean in each field, a search's trials as points."""
    panels = []
    for part in analysis.parts:
        scored = [trial for trial in part.trials if trial.finished and trial.objective is not None]
        varied = [name for name in HEAT if len({trial.fields.get(name) for trial in scored}) > 1]
        for first, second in itertools.combinations(varied, 2):
            with style():
                panels.append(_draw_heat(part, scored, first, second, several=len(analysis.parts) > 1))
    return panels


def draw_importance(found: Sequence[tuple[PartView, Importance]]) -> list[Panel]:
    """Bars of the shares; of parts that have some."""
    panels = []
    for part, one in found:
        if one.shares:
            with style():
                figure, axes = new_axes(4.9, 0.9 + 0.34 * len(one.shares))
                axes.grid(True, axis="x")
                axes.grid(False, axis="y")
                shares = list(one.shares.items())[::-1]
                axes.barh(range(len(shares)), [share for _, share in shares], color=MUTED, height=0.62, linewidth=0)
                axes.set_yticks(range(len(shares)), [short(name) for name, _ in shares])
                axes.set_xlim(0, 1)
                axes.tick_params(axis="y", length=0)
                axes.set_xlabel(f"share of importance, {plural(one.num_trials, 'trial')}")
                told = ", ".join(f"{name} {share:.2f}" for name, share in one.shares.items())
                panels.append(
                    save(figure, f"importance-{_stem(part.name)}", f"Importance ({part.name})", f"Importance by PED-ANOVA: {told}")
                )
    return panels


def _draw_relation(analysis: Analysis, name: str, title: str, label: str, points: Sequence[tuple[float, Trial]]) -> Panel:
    figure, axes = new_axes()
    looks = colours_of((trial.arm, trial.arm) for _, trial in points)
    heights = {trial.trial_id: _quality(analysis, trial) or 0.0 for _, trial in points}
    for arm, (colour, marker) in looks.items():
        mine = [(x, heights[trial.trial_id], trial) for x, trial in points if trial.arm == arm]
        x, y = [x for x, *_ in mine], [y for _, y, _ in mine]
        many = len(mine) > MOST_SHAPES
        axes.plot(x, y, linestyle="none", marker=marker, markersize=5.5, color=colour, label=_label(arm), rasterized=many)
    with_section = {trial.trial_id for trial in section_trials(analysis.parts)}
    hover(
        axes,
        [
            HoverPoint(
                x,
                heights[trial.trial_id],
                f"{describe_trial(trial)}: {heights[trial.trial_id]:.3f} at {x:.3g}",
                trial.trial_id if trial.trial_id in with_section else "",
            )
            for x, trial in points
        ],
    )
    if name == "cost":
        places = pareto_front([(x, heights[trial.trial_id]) for x, trial in points], ["minimize", "maximize"])
        front = sorted((points[place][0], heights[points[place][1].trial_id]) for place in places)
        axes.step([x for x, _ in front], [y for _, y in front], where="post", color=MUTED, linewidth=1.1, zorder=1, label="Pareto front")
        if min(x for x, _ in points) > 0 and max(x for x, _ in points) > 5 * min(x for x, _ in points):
            axes.set_xscale("log")
    _draw_levels(analysis, axes)
    axes.set_xlabel(label)
    axes.set_ylabel("test Success@1 (share of queries)")
    axes.set_title(title)
    figure.legend(loc="outside lower center", ncols=3, fontsize=8)
    return save(figure, name, title, f"Test Success@1 of {len(points)} trials against {label}, coloured by arm")


def _draw_levels(analysis: Analysis, axes: Axes) -> None:
    """The lexical floor and the untrained student, on the same languages: all that are evaluated."""
    levels = analysis.levels(ALL)
    low, high = axes.get_ylim()
    axes.set_ylim(min(0.0, low), max([high, *(1.08 * height for height in levels.values())]))
    for name, height in levels.items():
        axes.axhline(height, color=MUTED, linestyle=":" if name == "untrained" else "--", linewidth=1.1, zorder=0)
    label_lines(axes, {name: (height, MUTED) for name, height in levels.items()})


def _draw_heat(part: PartView, trials: Sequence[Trial], first: str, second: str, several: bool) -> Panel:
    figure, axes = new_axes(4.9, 3.7)
    axes.grid(False)
    values = np.array([trial.objective or 0.0 for trial in trials])
    scale = Normalize(float(values.min()), float(values.max()) if np.ptp(values) else float(values.min()) + 1e-9)
    x, y = ([float(trial.fields[name]) for trial in trials] for name in (first, second))
    if part.kind == "search":
        texts = [f"{trial.trial_id}: {a:.3g}, {b:.3g}, valid {value:.3f}" for trial, a, b, value in zip(trials, x, y, values, strict=True)]
        hover(axes, [HoverPoint(a, b, text) for a, b, text in zip(x, y, texts, strict=True)])
        axes.scatter(x, y, c=values, cmap=COLOURS, norm=scale, s=46, edgecolors=INK, linewidths=0.5, rasterized=len(trials) > MOST_SHAPES)
        for axis, name, set_scale in ((axes.xaxis, first, axes.set_xscale), (axes.yaxis, second, axes.set_yscale)):
            dimension = part.space.get(name) or {}
            if dimension.get("kind") == "LogUniform":
                set_scale("log")
                low, high = float(dimension["low"]), float(dimension["high"])
                ticks = log_ticks(low, high)
                axis.set_minor_locator(NullLocator())
                axis.set_ticks(ticks, [f"{tick:g}" for tick in ticks])
    else:
        columns, rows = sorted(set(x)), sorted(set(y))
        for column, row in itertools.product(range(len(columns)), range(len(rows))):
            here = [value for value, a, b in zip(values, x, y, strict=True) if (a, b) == (columns[column], rows[row])]
            if here:
                mean = float(np.mean(here))
                (shade,) = ScalarMappable(scale, COLOURS).to_rgba(np.array([mean]))
                axes.fill_between([column - 0.5, column + 0.5], row - 0.5, row + 0.5, color=shade, linewidth=0)
                dark = 0.299 * shade[0] + 0.587 * shade[1] + 0.114 * shade[2] < 0.5
                axes.text(column, row, f"{mean:.3f}", ha="center", va="center", fontsize=8, color="#ffffff" if dark else "#000000")
        axes.set_xticks(range(len(columns)), [f"{value:.3g}" for value in columns])
        axes.set_yticks(range(len(rows)), [f"{value:.3g}" for value in rows])
        axes.set_xlim(-0.5, len(columns) - 0.5)
        axes.set_ylim(-0.5, len(rows) - 0.5)
    figure.colorbar(ScalarMappable(scale, COLOURS), ax=axes, label="valid Success@1")
    axes.set_xlabel(first)
    axes.set_ylabel(second)
    title = f"{short(first)} x {short(second)}" + (f" ({part.name})" if several else "")
    axes.set_title(title)
    best = max(trials, key=lambda trial: trial.objective or 0.0)
    told = f"best {best.objective:.3f} at {first} {best.fields[first]:.3g}, {second} {best.fields[second]:.3g}"
    stem = f"heat-{_stem(part.name)}-{_stem(short(first))}-{_stem(short(second))}"
    return save(figure, stem, title, f"Validation Success@1 of {len(trials)} trials over {first} and {second}; {told}")


def _label(arm: str) -> str:
    return "untrained" if arm == "none" else arm


def _quality(analysis: Analysis, trial: Trial) -> float | None:
    """Mean over every evaluated language: the same ones for all trials."""
    found = analysis.success(trial, ALL)
    return None if found is None else found.estimate


def _cpu_hours(trial: Trial) -> float | None:
    return trial.status.cpu_seconds / 3600 if trial.status and trial.status.cpu_seconds else None


def _gpu_hours(trial: Trial) -> float | None:
    return trial.status.gpu_seconds / 3600 if trial.status and trial.status.gpu_seconds else None


def _last(metric: str) -> Callable[[Trial], float | None]:
    def find(trial: Trial) -> float | None:
        return next((value for _, value in reversed(trial.metrics.get(metric, ())) if math.isfinite(value)), None)

    return find


def _stem(text: str) -> str:
    return "".join(char if char.isascii() and char.isalnum() else "-" for char in text).lower()
