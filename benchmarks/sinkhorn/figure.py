"""One picture: time relative to ours by epsilon, a panel per kind of batch and cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from scipy.optimize import isotonic_regression

from benchmarks.sinkhorn.contenders import OURS
from benchmarks.sinkhorn.rows import Row

INK, MUTED, RULE = "#1a1a1b", "#5f5f60", "#dcdcdb"


@dataclass(frozen=True, slots=True)
class Look:
    """How a contender is drawn: colours of Okabe & Ito (2008), and markers for print without colour."""

    label: str
    colour: str
    marker: str
    line: str = "-"


LOOKS = {
    OURS: Look("optical_ray cpu", INK, "o"),
    "optical_ray torch": Look("optical_ray torch", "#0072b2", "s"),
    "POT batch, scaling": Look("POT batch, scaling", "#e69f00", "^"),
    "POT batch, log": Look("POT batch, log", "#d55e00", "D"),
    "POT one by one": Look("POT one by one", "#cc79a7", "v"),
    "geomloss": Look("geomloss", "#009e73", "P"),
    "POT emd (exact)": Look("POT emd (exact)", MUTED, "", ":"),
}
SETTINGS = {
    "svg.hashsalt": "optical_ray",  # ids of clip paths are random without it
    "svg.fonttype": "none",  # text stays text
    "font.family": ["DejaVu Sans"],
    "font.size": 9.5,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": MUTED,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": RULE,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "figure.facecolor": "#ffffff",  # a patch of its own: readable on a dark page too
    "savefig.facecolor": "#ffffff",
    "savefig.dpi": 200,
}
CROSSES = 0.055  # height of a failing contender's line of crosses, share of the axis
LABELS = 0.062  # least distance between two names, share of the axis


def draw(rows: Sequence[Row], limit: float, threads: int = 1) -> Figure:
    """Ratios of the speed section at one number of threads; a cell in which a contender fails is a cross at the top.

    Args:
        limit: Seconds after which a solve was given up.
    """
    rows = [row for row in rows if row.section == "speed" and row.threads == threads and row.contender in LOOKS]
    problems, costs = (list(dict.fromkeys(getattr(row, name) for row in rows)) for name in ("problem", "cost"))
    failing = [name for name in LOOKS if any(row.failed for row in rows if row.contender == name)]
    with matplotlib.rc_context({**matplotlib.rcParamsDefault, **SETTINGS, "backend": matplotlib.rcParams["backend"]}):
        figure = Figure(figsize=(9.4, 0.9 + 3.1 * len(problems)), layout="constrained")
        FigureCanvasAgg(figure)
        grid = figure.subplots(len(problems), len(costs), sharex=True, sharey=True, squeeze=False)
        ratios = [row.ratio_to_ours for row in rows if row.ratio_to_ours is not None]
        low, high = 0.7 * min(ratios), 1.4 * max(ratios)
        strip = CROSSES * (len(failing) + 1.5) if failing else 0.0
        top = low * (high / low) ** (1 / (1 - strip))
        for line, problem in enumerate(problems):
            for column, cost in enumerate(costs):
                axes = grid[line][column]
                axes.set_yscale("log")
                axes.set_ylim(low, top)
                axes.yaxis.set_major_locator(FixedLocator([10.0**power for power in range(-3, 9) if low <= 10.0**power <= high]))
                axes.yaxis.set_minor_locator(NullLocator())
                _draw_panel(axes, [row for row in rows if (row.problem, row.cost) == (problem, cost)], failing, strip, limit)
                axes.set_title(f"{problem}, {cost}")
                axes.label_outer()
        figure.supxlabel("epsilon (cosine distance); colder plans to the right", fontsize=9.5)
        figure.supylabel(f"time relative to {OURS}", fontsize=9.5)
        figure.suptitle(
            f"Time to the same accuracy (worst pair within 1e-4 of its marginals), {threads} thread{'s' * (threads > 1)}; lower is faster",
            fontsize=10.5,
            x=0.01,
            ha="left",
        )
    return figure


def save(figure: Figure, stem: str) -> None:
    """SVG and PNG, without dates, so that reruns differ only where the numbers do."""
    with matplotlib.rc_context({**matplotlib.rcParamsDefault, **SETTINGS, "backend": matplotlib.rcParams["backend"]}):
        figure.savefig(f"{stem}.svg", metadata={"Date": None, "Creator": None})
        figure.savefig(f"{stem}.png", metadata={"Software": None})


def _draw_panel(axes: Axes, rows: Sequence[Row], failing: Sequence[str], strip: float, limit: float) -> None:
    epsilons = sorted({row.epsilon for row in rows if row.epsilon is not None}, reverse=True)
    axes.set_xscale("log")
    axes.set_xlim(epsilons[0] * 1.2, epsilons[-1] / 1.2)
    axes.xaxis.set_major_locator(FixedLocator(epsilons))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}×"))
    if strip:
        axes.add_patch(Rectangle((0, 1 - strip), 1, strip, transform=axes.transAxes, facecolor="#f1f1f0", linewidth=0, zorder=1))
        axes.text(0.015, 0.985, f"× not reached within {limit:g} s a solve", transform=axes.transAxes, color=MUTED, fontsize=8, va="top")
    names: dict[str, tuple[float, str]] = {}
    for name, look in LOOKS.items():
        mine = sorted((row for row in rows if row.contender == name), key=lambda row: -(row.epsilon or 0.0))
        if not mine or all(row.note == "not installed" for row in mine):
            continue
        heights = [float("nan") if row.ratio_to_ours is None else row.ratio_to_ours for row in mine]  # a gap where it fails
        where = [row.epsilon or 0.0 for row in mine]
        width = 2.2 if name == OURS else 1.5
        axes.plot(
            where, heights, look.line, color=look.colour, marker=look.marker, markersize=4.5, linewidth=width, clip_on=False, zorder=3
        )
        crossed = [row.epsilon or 0.0 for row in mine if row.failed]
        height = 1 - CROSSES * (failing.index(name) + 1.6) if crossed else 0.0
        axes.plot(
            crossed,
            [height] * len(crossed),
            "x",
            color=look.colour,
            markersize=5.5,
            markeredgewidth=1.6,
            transform=axes.get_xaxis_transform(),
        )
        last = mine[-1].ratio_to_ours
        text = look.label if last is None or name == OURS else f"{look.label} {_times(last)}"
        names[text] = (height if last is None else _share(axes, last), look.colour)
    _write_names(axes, names)


def _write_names(axes: Axes, names: dict[str, tuple[float, str]]) -> None:
    """Each line's name at its right end, moved apart no more than needed where two would overlap.

    Args:
        names: By text: (height as a share of the axis, colour).
    """
    wanted = sorted((height, text, colour) for text, (height, colour) in names.items())
    steps = LABELS * np.arange(len(wanted))
    heights = np.array([height for height, _, _ in wanted])
    places = isotonic_regression(heights - steps).x + steps if wanted else heights  # least squares under the least distance
    places -= max(0.0, places[-1] - 0.98) if wanted else 0.0
    for place, (_, text, colour) in zip(places, wanted, strict=True):
        axes.text(1.03, place, text, transform=axes.transAxes, color=colour, va="center", ha="left", fontsize=8.5)


def _share(axes: Axes, value: float) -> float:
    """A height in data units as a share of the axis."""
    height: float = axes.transAxes.inverted().transform(axes.transData.transform((1.0, value)))[1]
    return height


def _times(ratio: float) -> str:
    return f"{ratio:.0f}×" if ratio >= 9.95 else f"{ratio:.1f}×"
