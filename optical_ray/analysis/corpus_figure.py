"""A picture of a corpus: pairs (or rows of text) of every language, by split, in the order of their number, with family and script."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.patches import Patch

from optical_ray.analysis.style import ARM_COLOURS, INK, MUTED, OTHER_COLOURS, new_axes, style
from optical_ray.data.corpus_config import SPLITS
from optical_ray.errors import DataError

FORMATS = (".svg", ".png", ".pdf")
PALETTE = (*ARM_COLOURS.values(), *OTHER_COLOURS)
OTHER = "other families"
ROW_INCHES = 0.155


def draw_corpus(languages: Sequence[Mapping[str, Any]], path: Path, unit: str = "pairs") -> None:
    """Write the figure; bars are coloured by family: the seven with most languages, the rest in grey.

    Args:
        languages: What `describe_corpus` gives.
        path: .svg, .png or .pdf.
        unit: What a row is called.

    Raises:
        DataError: another suffix, or the file cannot be written.
    """
    if path.suffix not in FORMATS:
        raise DataError(f"{path}: a figure is written as {', '.join(FORMATS)}; give it one of these suffixes")
    rows = sorted(languages, key=lambda row: (sum(row[split] for split in SPLITS), row["language"]))
    colours = _colours(rows)
    with style():
        figure, axes = new_axes(6.4, 1.2 + ROW_INCHES * len(rows))
        axes.grid(True, axis="x")
        axes.grid(False, axis="y")
        left = [0.0] * len(rows)
        for split, alpha in zip(SPLITS, (0.95, 0.55, 0.3), strict=True):
            for place, row in enumerate(rows):
                axes.barh(place, row[split], left=left[place], height=0.72, color=colours[row["family"]], alpha=alpha, linewidth=0)
                left[place] += row[split]
        for place, row in enumerate(rows):
            axes.annotate(
                f"{sum(row[split] for split in SPLITS):,}",
                (left[place], place),
                xytext=(3, 0),
                textcoords="offset points",
                va="center",
                fontsize=7,
                color=INK,
            )
        axes.set_yticks(range(len(rows)), [f"{row['name']} ({row['language']}, {row['script']})" for row in rows], fontsize=7.5)
        axes.set_ylim(-0.7, len(rows) - 0.3)
        axes.set_xlim(0, 1.14 * max(left, default=1.0))
        axes.set_xlabel(f"{unit.capitalize()}: dark train, lighter valid, lightest test")
        axes.tick_params(axis="y", length=0)
        shown = {family: colour for family, colour in colours.items() if colour != MUTED}
        handles = [Patch(color=colour, label=family) for family, colour in shown.items()]
        if MUTED in colours.values():
            handles.append(Patch(color=MUTED, label=OTHER))
        axes.legend(handles=handles, loc="lower right", fontsize=7.5)
        try:
            figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
        except OSError as error:
            raise DataError(f"{path}: cannot be written ({error.strerror or error}); choose another place") from None


def _colours(rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """family -> colour, most languages first."""
    counts: dict[str, int] = {}
    for row in rows:
        counts[row["family"]] = counts.get(row["family"], 0) + 1
    order = sorted(counts, key=lambda family: (-counts[family], family))
    return {family: PALETTE[place] if place < len(PALETTE) else MUTED for place, family in enumerate(order)}
