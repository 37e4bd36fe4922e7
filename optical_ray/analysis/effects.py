"""The coefficients of the regression, drawn."""

from __future__ import annotations

from optical_ray.analysis.regression import Regression
from optical_ray.analysis.style import INK, MUTED, Panel, new_axes, save, style


def draw_effects(regression: Regression) -> list[Panel]:
    """A row for each coefficient, with its interval; empty without a fit."""
    effects = regression.effects
    if not effects:
        return []
    with style():
        figure, axes = new_axes(6.4, 1.0 + 0.5 * len(effects))
        axes.grid(True, axis="x")
        axes.grid(False, axis="y")
        axes.axvline(0.0, color=INK, linewidth=0.9)
        for row, effect in enumerate(reversed(effects)):
            interval = effect.interval
            colour = INK if interval.excludes_zero else MUTED
            axes.plot([interval.low, interval.high], [row, row], color=colour, linewidth=1.5, solid_capstyle="butt")
            face = colour if interval.excludes_zero else "none"
            axes.plot([interval.estimate], [row], marker="o", markersize=6, color=colour, markerfacecolor=face, linestyle="none")
        axes.set_yticks(range(len(effects)), [effect.name for effect in reversed(effects)])
        axes.set_ylim(-0.6, len(effects) - 0.4)
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel("change of Success@1 per unit")
        told = "; ".join(f"{effect.name} {effect.interval.estimate:+.3f}" for effect in effects)
        return [save(figure, "effects", "Coefficients", f"Coefficients of the mixed model with their intervals. {told}")]
