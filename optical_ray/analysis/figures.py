"""The figures: quality against k, quality per language, training curves, the search. Every interval is over relevant sentences."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from typing import Any

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator

from optical_ray.analysis.analyse import Analysis
from optical_ray.analysis.curves import FLOOR, MEMORY, REFERENCES, UNTRAINED, Point
from optical_ray.analysis.design import (
    MOST_CURVES,
    PartView,
    describe_trial,
    name_k,
    section_trials,
    short,
    show,
    spread_trials,
    training_trials,
    untrained_trials,
)
from optical_ray.analysis.load import BITEXT, Trial
from optical_ray.analysis.phrases import bracket, plural
from optical_ray.analysis.style import INK, MUTED, PAPER, HoverPoint, Panel, colours_of, hover, hover_id, label_lines, new_axes, save, style
from optical_ray.analysis.summary import IN_TRAINING, SMALLEST, UNSEEN
from optical_ray.runs import names

MOST_SERIES = 8  # lines that one panel can show apart
MOST_SHAPES = 2_000  # points that stay shapes in an SVG; more become a bitmap within it
LONGEST_LABEL = 28  # characters that fit beside a line; longer names stand below
LINE_STYLES = (":", "--", "-", "-.")

TRAINING_PANELS = (
    ("loss-transport", names.LOSS_TRANSPORT, "Transport loss", "<T, C>, cosine distance"),
    ("loss-greedy", names.LOSS_GREEDY, "Greedy matching", "squared distance of matched tokens"),
    ("loss-argmax", names.LOSS_ARGMAX, "Nearest token", "cosine distance"),
    ("loss-pooled-mse", names.LOSS_POOLED_MSE, "Pooled MSE", "squared distance of mean tokens"),
    ("loss-contrastive", names.LOSS_CONTRASTIVE, "Contrastive loss", "InfoNCE, nats per pair"),
    ("loss-score-kl", names.LOSS_SCORE_KL, "Score distillation", "KL, nats per pair"),
    ("loss-english", names.LOSS_ENGLISH, "English term", "in the unit of its kind"),
    ("plan-entropy", names.TRANSPORT_ENTROPY, "Normalised plan entropy", "1 = the independent plan"),
    ("within-sentence-cosine", names.WITHIN_SENTENCE_COSINE, "Within-sentence cosine", "mean cosine of two tokens"),
    ("english-drift", names.ENGLISH_DRIFT, "English drift", "cosine distance of pooled English from the teacher's"),
)
MARKS = {"collapsed": "X", "plan uniform": "s", "failed": "v", "stopped early": "d", "resumed": "o"}
ENDS = {"failed": "failed", "pruned": "stopped early"}
"""Marks of states in which a curve ends."""
K_PANELS = (
    ("k-smallest", SMALLEST, "Smallest set"),
    ("k-in-training", IN_TRAINING, "In training"),
    ("k-unseen", UNSEEN, "Never distilled"),
)


def draw_k(analysis: Analysis) -> list[Panel]:
    """Success@1 against k, one panel per group of languages, all on one scale; empty where no grid cell has finished."""
    drawn = [(name, group, title) for name, group, title in K_PANELS if _arm_points(analysis.curves, group)]
    smallest, trained = (
        {(point.series, point.k): point.languages for point in _arm_points(analysis.curves, group)} for group in (SMALLEST, IN_TRAINING)
    )
    if smallest == trained:  # every k trains on the same languages: two panels would be one
        drawn = [panel for panel in drawn if panel[1] != IN_TRAINING]
    top = max((point.interval.high for point in analysis.curves), default=0.0)
    with style():
        return [_draw_k_panel(analysis, name, group, title, _limit(top)) for name, group, title in drawn]


def draw_languages(analysis: Analysis) -> list[Panel]:
    """Bars per language for the arms at the largest k, beside the lexical floor."""
    points = _shown(analysis.languages)
    arms = list(dict.fromkeys((point.series, point.arm) for point in points if point.series not in REFERENCES))
    if not arms:
        return []
    by = {(point.series, point.language): point.interval for point in points}
    floor_of = {point.language or "": point.interval.estimate for point in points if point.series == FLOOR}
    languages = sorted({point.language or "" for point in points}, key=lambda name: (floor_of.get(name, 0.0), name))
    k = max(point.k for point in points)
    looks = colours_of(arms)
    with style():
        figure, axes = new_axes(4.9, 1.1 + len(languages) * (0.13 + 0.085 * (len(arms) + 1)))
        axes.grid(True, axis="x")
        axes.grid(False, axis="y")
        height = 0.84 / (len(arms) + 1)
        series = [FLOOR, *reversed([name for name, _ in arms])]  # the axis points up: the first arm lies on top
        for row, name in enumerate(series):
            colour = MUTED if name == FLOOR else looks[name][0]
            found = [(place, by[name, language]) for place, language in enumerate(languages) if (name, language) in by]
            where = np.array([place for place, _ in found], dtype=float) - 0.42 + (row + 0.5) * height
            values = [interval.estimate for _, interval in found]
            label = f"{analysis.sources.lexical_name} (lexical floor)" if name == FLOOR else name
            bars = axes.barh(where, values, height * 0.92, color=colour, label=label, alpha=0.55 if name == FLOOR else 0.9, linewidth=0)
            for bar, (place, interval) in zip(bars, found, strict=True):
                bar.set_gid(hover_id(f"{languages[place]}, {label}: {bracket(interval)}"))
            errors = np.array([_reach(interval) for _, interval in found]).reshape(-1, 2).T
            axes.errorbar(values, where, xerr=errors, fmt="none", ecolor=INK, elinewidth=0.7, capsize=0)
        for reference, line in ((UNTRAINED, ":"), (MEMORY, "-")):
            marked = [(place, by[reference, language].estimate) for place, language in enumerate(languages) if (reference, language) in by]
            for row, (place, value) in enumerate(marked):
                ends = [place - 0.42, place + 0.42]
                axes.plot([value, value], ends, color=INK, linewidth=1.0, linestyle=line, label=reference if row == 0 else None)
        axes.set_yticks(range(len(languages)), languages)
        axes.set_ylim(-0.6, len(languages) - 0.4)
        axes.set_xlim(0, _limit(max(interval.high for interval in by.values())))
        axes.set_xlabel("Success@1 (share of queries)")
        axes.tick_params(axis="y", length=0)
        handles, labels = axes.get_legend_handles_labels()
        order = sorted(range(len(labels)), key=lambda index: _legend_rank(labels[index], [name for name, _ in arms]))
        figure.legend([handles[i] for i in order], [labels[i] for i in order], loc="outside upper left", ncols=2, fontsize=8.5)
        drawn = ", ".join(name for name, _ in arms)
        alt = f"Bars of Success@1 for {len(languages)} query languages at k = {k}: {drawn}, beside the lexical floor"
        return [save(figure, "languages", f"Each language at k = {k}", alt)]


def draw_training(analysis: Analysis) -> list[Panel]:
    """Losses and diagnostics of the grid's trials (of all trained trials, where there is no grid) over steps."""
    trials = training_trials(analysis.run, analysis.parts)
    sizes = sorted({trial.k for trial in trials if trial.k is not None})
    looks = colours_of(
        (trial.arm, trial.arm) for trial in sorted(trials, key=lambda trial: (trial.arm not in ("OT", "OT + contrastive"), trial.arm))
    )
    colours = {arm: look[0] for arm, look in looks.items()}
    with_section = {trial.trial_id for trial in section_trials(analysis.parts)}
    panels = []
    for name, metric, title, unit in TRAINING_PANELS:
        shown = spread_trials([trial for trial in trials if metric in trial.metrics], MOST_CURVES)
        if shown:
            with style():
                panels.append(_draw_training_panel(shown, with_section, name, metric, title, unit, sizes, colours))
    return panels


def draw_search(analysis: Analysis) -> list[Panel]:
    """The validation objective against each dimension of each search."""
    panels = []
    searches = [part for part in analysis.parts if part.kind == "search" and any(trial.objective is not None for trial in part.trials)]
    for part in searches:
        for name, dimension in part.space.items():
            with style():
                panels.append(_draw_search_panel(analysis, part, name, dimension, len(searches) > 1))
    return panels


def _draw_k_panel(analysis: Analysis, name: str, group: str, title: str, top: float) -> Panel:
    points = _shown([point for point in analysis.curves if point.group == group])
    sizes = sorted({point.k for point in points})
    none = min((size for size in sizes if size), default=1) / 4  # where no pre-training stands, on an axis that has no 0
    places = {size: float(size or none) for size in sizes}
    looks = colours_of((point.series, point.arm) for point in points if point.series not in REFERENCES)
    long = max(map(len, looks), default=0) > LONGEST_LABEL
    figure, axes = new_axes(4.9, 3.3 + (0.3 + 0.17 * len(looks) if long else 0.0))
    labels: dict[str, tuple[float, str]] = {}
    for row, (series, (colour, marker)) in enumerate(looks.items()):
        mine = sorted((point for point in points if point.series == series), key=lambda point: point.k)
        shift = 1.0 + 0.045 * (row - (len(looks) - 1) / 2)  # side by side on the logarithmic axis: intervals must not hide each other
        x, y = [places[point.k] * shift for point in mine], [point.interval.estimate for point in mine]
        errors = np.array([_reach(point.interval) for point in mine]).T
        axes.errorbar(x, y, yerr=errors, color=colour, marker=marker, markersize=5, linewidth=1.6, elinewidth=1.1, capsize=2, label=series)
        counts = [plural(point.num_trials, "trial") for point in mine]
        texts = [f"{series}, {name_k(a.k)}: {bracket(a.interval)}, {count}" for a, count in zip(mine, counts, strict=True)]
        hover(axes, [HoverPoint(a, b, text) for a, b, text in zip(x, y, texts, strict=True)])
        if not long:
            labels[series] = (y[-1], colour)
    for series, line in ((FLOOR, "--"), (MEMORY, "-."), (UNTRAINED, ":")):
        mine = sorted((point for point in points if point.series == series), key=lambda point: point.k)
        if mine:
            x = [places[point.k] for point in mine]
            y = [point.interval.estimate for point in mine]
            if group == SMALLEST or len(mine) == 1:  # the same languages at every k: a level
                axes.axhline(y[-1], color=MUTED, linestyle=line, linewidth=1.2)
            else:
                axes.plot(x, y, color=MUTED, linestyle=line, linewidth=1.2)
            labels[{FLOOR: analysis.sources.lexical_name, UNTRAINED: "untrained"}.get(series, series)] = (y[-1], MUTED)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(FixedLocator(list(places.values())))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks(list(places.values()), [str(size) if size else "none" for size in places])
    axes.set_xlim(min(places.values()) / 1.25, max(places.values()) * 1.25)
    axes.set_ylim(0, top)
    axes.set_xlabel(f"k: {'bitext languages in training' if analysis.axis == BITEXT else 'languages in pre-training'} (log scale)")
    axes.set_ylabel("Success@1 (share of queries)")
    count = sorted({len(point.languages) for point in points})
    languages = ", ".join(points[0].languages) if len(count) == 1 and count[0] <= 4 else f"{_span(count)} languages"
    axes.set_title(f"{title} ({languages})")
    label_lines(axes, labels)
    if long:
        figure.legend(loc="outside lower left", ncols=1, fontsize=7.5)
    ends = "; ".join(f"{series}: {_path(points, series)}" for series in looks)
    return save(figure, name, title, f"Success@1 against k on {title.lower()} ({languages}). {ends}")


def _draw_training_panel(
    trials: Sequence[Trial],
    with_section: Set[str],
    name: str,
    metric: str,
    title: str,
    unit: str,
    sizes: Sequence[int],
    colours: Mapping[str, str],
) -> Panel:
    figure, axes = new_axes()
    marked: set[str] = set()
    for trial in trials:
        steps, values = zip(*trial.metrics[metric], strict=True)
        (line,) = axes.plot(steps, values, color=colours[trial.arm], linestyle=_line_of(trial.k, sizes), linewidth=1.3)
        line.set_gid(hover_id(describe_trial(trial)))
        line.set_url(f"#trial-{trial.trial_id}" if trial.trial_id in with_section else None)
        finite = [point for point in trial.metrics[metric] if math.isfinite(point[1])]
        for mark, (step, value) in _marks(trial, finite):
            colour = colours[trial.arm]
            axes.plot(step, value, marker=MARKS[mark], color=colour, markeredgecolor=INK, markersize=8, clip_on=False, zorder=4)
            marked.add(mark)
    axes.set_xlabel("step (global batches)")
    axes.set_ylabel(unit)
    axes.set_title(title)
    axes.margins(x=0.03)
    handles = [Line2D([], [], color=colours[arm], linewidth=2, label=arm) for arm in colours if any(trial.arm == arm for trial in trials)]
    handles += [Line2D([], [], color=MUTED, linestyle=_line_of(k, sizes), label=name_k(k)) for k in sizes]
    handles += [
        Line2D([], [], color=MUTED, marker=MARKS[mark], markeredgecolor=INK, linestyle="none", markersize=7, label=mark)
        for mark in sorted(marked)
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=8, handlelength=2.4, columnspacing=1.2)
    note = f"; marked: {', '.join(sorted(marked))}" if marked else ""
    return save(figure, name, title, f"{title} ({unit}) over steps for {len(trials)} trials, coloured by arm, line style by k{note}")


def _marks(trial: Trial, finite: Sequence[tuple[int, float]]) -> Iterator[tuple[str, tuple[int, float]]]:
    """What happened to a trial, of MARKS, and the point of its curve where it did."""
    if not finite or trial.status is None:
        return
    verdicts, state = trial.status.verdicts, trial.state
    end = "collapsed" if names.COLLAPSED in verdicts else "plan uniform" if names.PLAN_UNIFORM in verdicts else ENDS.get(state)
    if end is not None:
        yield end, finite[-1]
    step = trial.status.resumed_from
    if step is not None:
        yield "resumed", min(finite, key=lambda point: abs(point[0] - step))


def _draw_search_panel(analysis: Analysis, part: PartView, name: str, dimension: Any, several: bool) -> Panel:
    figure, axes = new_axes(4.0, 3.1)
    best = part.best
    scored = [trial for trial in part.trials if trial.objective is not None]
    done = [trial for trial in scored if trial.finished and trial is not best]
    rest = [trial for trial in scored if not trial.finished]
    values = [trial.fields.get(name) for trial in scored]
    numeric = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)
    categories = [show(value) for value in dimension.get("values") or []] or sorted({show(value) for value in values})

    def place(trial: Trial) -> float:
        value = trial.fields.get(name)
        return float(value) if numeric and value is not None else float(categories.index(show(value)))

    def draw(trials: Sequence[Trial], **look: Any) -> None:
        x, y = [place(trial) for trial in trials], [trial.objective or 0.0 for trial in trials]
        axes.plot(x, y, linestyle="none", rasterized=len(trials) > MOST_SHAPES, **look)

    with_section = {trial.trial_id for trial in section_trials(analysis.parts)}
    texts = [f"{trial.trial_id}: {short(name)} {show(trial.fields.get(name))}, valid {trial.objective or 0.0:.3f}" for trial in scored]
    links = [trial.trial_id if trial.trial_id in with_section else "" for trial in scored]
    hover(axes, [HoverPoint(place(trial), trial.objective or 0.0, *told) for trial, *told in zip(scored, texts, links, strict=True)])
    colour = colours_of([(scored[0].arm, scored[0].arm)])[scored[0].arm][0]
    draw(done, marker="o", markersize=5.5, color=colour, alpha=0.85)
    draw(rest, marker="o", markersize=5.5, markerfacecolor=PAPER, markeredgecolor=colour)
    if best is not None:
        draw([best], marker="*", markersize=13, color=colour, markeredgecolor=INK)
    heights = [trial.objective or 0.0 for trial in scored]
    pad = max(0.02, 0.12 * (max(heights) - min(heights)))
    low, high = max(0.0, min(heights) - pad), min(1.0, max(heights) + pad)
    default = [cell for cell in analysis.cells if best is not None and (cell.arm, cell.k) == (best.arm, best.k)]
    labels: dict[str, tuple[float, str]] = {}
    for label, trials in (("grid", default[0].trials if len(default) == 1 else ()), ("untrained", untrained_trials(analysis.run))):
        found = [value for value in (trial.objective for trial in trials) if value is not None]
        if found:
            level = sum(found) / len(found)
            low, high = min(low, max(0.0, level - pad / 2)), max(high, min(1.0, level + pad / 2))
            axes.axhline(level, color=MUTED, linestyle="--" if label == "grid" else ":", linewidth=1.1)
            labels[label] = (level, MUTED)
    axes.set_ylim(low, high)
    if not numeric:
        axes.set_xticks(range(len(categories)), categories)
    elif dimension.get("kind") == "LogUniform":
        axes.set_xscale("log")
        ticks = log_ticks(float(dimension["low"]), float(dimension["high"]))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_xlabel(f"{name} (log scale)" if dimension.get("kind") == "LogUniform" else name)
    axes.set_ylabel("valid Success@1")
    axes.set_title(short(name) + (f" ({part.name})" if several else ""))
    label_lines(axes, labels)
    alt = f"Validation Success@1 of {len(scored)} search trials against {name}"
    label = f"{part.name}-{name}" if several else name
    stem = "search-" + "".join(char if char.isascii() and char.isalnum() else "-" for char in label).lower()
    return save(figure, stem, short(name), alt + (f"; best {show(best.fields.get(name))}" if best else ""))


def _shown(points: Iterable[Point]) -> list[Point]:
    """The points of the first series; more than MOST_SERIES lines cannot be told apart."""
    found = list(points)
    arms = list(dict.fromkeys(point.series for point in found if point.series not in REFERENCES))[:MOST_SERIES]
    return [point for point in found if point.series in (*arms, *REFERENCES)]


def _arm_points(points: Iterable[Point], group: str) -> list[Point]:
    return [point for point in points if point.group == group and point.series not in REFERENCES]


def _reach(interval: Any) -> tuple[float, float]:
    """Lengths of the error bar below and above; never negative by rounding."""
    return max(0.0, interval.estimate - interval.low), max(0.0, interval.high - interval.estimate)


def _limit(highest: float) -> float:
    """Upper end of an axis of shares, with a little room; never 0, where every score is."""
    return min(1.0, max(0.02, 1.05 * highest))


def _path(points: Iterable[Point], series: str) -> str:
    return ", ".join(f"{point.interval.estimate:.3f} ({name_k(point.k)})" for point in points if point.series == series)


def _span(counts: Sequence[int]) -> str:
    return str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"


def _line_of(k: int | None, sizes: Sequence[int]) -> str:
    """The largest k is drawn solid, smaller ones more and more broken; no pre-training has a line of its own."""
    if k not in sizes:
        return "-"
    if k == 0:
        return LINE_STYLES[-1]
    return LINE_STYLES[max(0, 2 - (len(sizes) - 1 - sizes.index(k)))]


def _legend_rank(label: str, arms: Sequence[str]) -> int:
    return arms.index(label) if label in arms else len(arms) + (label == UNTRAINED)


def log_ticks(low: float, high: float) -> list[float]:
    """1, 2, 5 times powers of ten inside the range."""
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [factor * 10.0**exponent for exponent in exponents for factor in (1, 2, 5)]
    inside = [tick for tick in ticks if low * 0.999 <= tick <= high * 1.001]
    return inside if len(inside) <= 6 else [tick for tick in inside if f"{tick:e}"[0] == "1"]
