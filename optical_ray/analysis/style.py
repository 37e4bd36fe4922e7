"""How figures look and how they are saved: one palette, direct labels, the same bytes every time."""

from __future__ import annotations

import html
import io
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

INK, MUTED, RULE, PAPER = "#1a1a1b", "#5f5f60", "#dcdcdb", "#fefefd"
"""Each stands for a CSS variable of the page, so that one figure serves light and dark."""

ARM_COLOURS = {"OT": "#0072b2", "OT + contrastive": "#d55e00", "contrastive": "#009e73"}
OTHER_COLOURS = ("#cc79a7", "#e69f00", "#56b4e9", "#7a6a00")
"""Okabe & Ito (2008), told apart by colour-blind readers; markers differ too, for print without colour."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X")

CSS_NAMES = {INK: "--ink", MUTED: "--muted", RULE: "--rule", PAPER: "--paper"} | {
    colour: f"--c{index}" for index, colour in enumerate([*ARM_COLOURS.values(), *OTHER_COLOURS])
}

SETTINGS: dict[str, object] = {
    "svg.hashsalt": "optical_ray",  # ids of clip paths are random without it
    "svg.fonttype": "path",  # the same look without the reader's fonts; the numbers are in the tables
    "font.family": ["DejaVu Sans"],
    "font.size": 9.5,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "text.parse_math": False,  # names are the user's: a $ is a dollar
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "figure.facecolor": PAPER,
    "savefig.facecolor": PAPER,
    "savefig.dpi": 200,
}


MOST_HOVERS = 400


@dataclass(frozen=True, slots=True)
class Panel:
    """One figure, saved."""

    name: str
    """Stem of its files."""
    title: str
    alt: str
    """For readers who do not see it: what is drawn, not how it looks."""
    svg: str
    png: bytes

    @property
    def standalone(self) -> str:
        """The SVG for a file of its own: it has no sections that a point could lead to."""
        return re.sub(r"<a [^>]*>|</a>", "", self.svg)

    @property
    def inline(self) -> str:
        """The SVG for an HTML page: colours follow the page, ids are the panel's own."""
        svg = self.svg[self.svg.index("<svg") :]
        for colour, name in CSS_NAMES.items():
            svg = svg.replace(colour, f"var({name})")
        svg = re.sub(r'\bid="([^"]+)"', rf'id="{self.name}-\1"', svg)
        svg = re.sub(r'<use xlink:href="#([^"]+)"', rf'<use xlink:href="#{self.name}-\1"', svg)
        svg = svg.replace('<a xlink:href="', '<a href="')
        svg = re.sub(r"url\(#([^)]+)\)", rf"url(#{self.name}-\1)", svg)
        svg = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", svg, flags=re.DOTALL)
        return re.sub(
            r'^<svg ([^>]*?)width="[^"]*"([^>]*?)height="[^"]*"|^<svg ([^>]*?)height="[^"]*"([^>]*?)width="[^"]*"', _unsized, svg, count=1
        )


def style() -> AbstractContextManager[None]:
    """Our settings, for drawing and saving; the caller's are untouched."""
    return matplotlib.rc_context({**matplotlib.rcParamsDefault, **SETTINGS, "backend": matplotlib.rcParams["backend"]})


def new_axes(width: float = 4.9, height: float = 3.3) -> tuple[Figure, Axes]:
    """A figure of one panel, inches; narrow enough to stay readable on a telephone."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots()


def save(figure: Figure, name: str, title: str, alt: str) -> Panel:
    """Draw it as SVG and PNG, without dates or versions."""
    vector, bitmap = io.StringIO(), io.BytesIO()
    figure.savefig(vector, format="svg", metadata={"Date": None, "Creator": None})
    figure.set_layout_engine("none")  # where everything lies is known now, and finding it takes as long as drawing it
    figure.savefig(bitmap, format="png", metadata={"Software": None})
    svg = re.sub(r'<g id="hover-([0-9a-f]*)">', lambda found: f"<g><title>{_read_hover(found[1])}</title>", vector.getvalue())
    # Links are for the mouse: the picture is one image to a screen reader, and the table of trials has the same links for the keyboard.
    svg = svg.replace(' target="_blank">', ' tabindex="-1">')
    return Panel(name, title, alt, svg, bitmap.getvalue())


def hover_id(text: str) -> str:
    """For `set_gid`: `save` makes it a text that a browser shows over the artist. Hexadecimal, so that no quoting stands in between."""
    return f"hover-{text.encode().hex()}"


def _read_hover(code: str) -> str:
    return html.escape(bytes.fromhex(code).decode(), quote=False)


def hover(axes: Axes, points: Sequence[HoverPoint]) -> None:
    """Texts that a browser shows over points, and the trials' sections that they lead to; nothing that a printed figure shows.

    Of more than MOST_HOVERS points none has one: the page would grow past what a browser opens at once.
    """
    for point in points if len(points) <= MOST_HOVERS else ():
        (line,) = axes.plot([point.x], [point.y], linestyle="none", marker="o", markersize=12, color=INK, alpha=0.0, zorder=9)
        line.set_gid(hover_id(point.text))
        line.set_url(f"#trial-{point.trial}" if point.trial else None)


@dataclass(frozen=True, slots=True)
class HoverPoint:
    """A point in data units."""

    x: float
    y: float
    text: str
    trial: str = ""
    """Whose section a click leads to; empty: nowhere."""


def colours_of(series: Iterable[tuple[str, str]]) -> dict[str, tuple[str, str]]:
    """(colour, marker) by series, from (series, arm): an arm keeps its colour in every figure of every run."""
    found: dict[str, tuple[str, str]] = {}
    spare = list(OTHER_COLOURS)
    used: set[str] = set()
    for name, arm in dict(series).items():
        colour = ARM_COLOURS.get(arm)
        if colour is None or colour in used:
            unused = [other for other in spare if other not in used]
            colour = (unused or spare)[len(found) % len(unused or spare)]
        used.add(colour)
        order = list(ARM_COLOURS)
        marker = MARKERS[order.index(arm)] if arm in order and colour == ARM_COLOURS[arm] else MARKERS[(len(found) + 3) % len(MARKERS)]
        found[name] = (colour, marker)
    return found


def wrap(text: str, width: int = 34) -> str:
    """In lines of a readable length: names of settings may be long."""
    return "\n".join(textwrap.wrap(text, width)) or text


def label_lines(axes: Axes, labels: Mapping[str, tuple[float, str]], gap: float = 0.062) -> None:
    """Write each line's name at its right end, moved apart where they would overlap.

    Args:
        labels: By text: (height in data units, colour).
        gap: Least distance between two labels, share of the axis.
    """
    low, high = axes.get_ylim()
    wanted = sorted(((height - low) / (high - low), text, colour) for text, (height, colour) in labels.items())
    places: list[float] = []
    for height, _, _ in wanted:
        places.append(max(height, places[-1] + gap) if places else max(height, 0.0))
    overflow = (places[-1] if places else 0.0) - 1.0
    if overflow > 0:  # push down from the top
        limit = 1.0
        for index in range(len(places) - 1, -1, -1):
            places[index] = min(places[index], limit)
            limit = places[index] - gap
    for place, (_, text, colour) in zip(places, wanted, strict=True):
        axes.text(1.02, place, text, transform=axes.transAxes, color=colour, va="center", ha="left", fontsize=8.5)


def _unsized(match: re.Match[str]) -> str:
    return re.sub(r'\s(?:width|height)="[^"]*"', "", match.group(0))
