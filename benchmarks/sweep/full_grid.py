"""What sweeps/entropy_temperature.py is measured against: the same space as a grid, every trial to its last step.

Each dimension is cut into parts of equal length on its logarithm, and each part is tried at its middle; as many points as fit 32 trials,
fewest for the mixing temperature, of which the sweep's file expects least.
"""

import math
import runpy
from dataclasses import replace
from pathlib import Path

from optical_ray.cli import run
from optical_ray.sweep import GridPart, LogUniform, Sweep

SHIPPED: Sweep = runpy.run_path(str(Path(__file__).parents[2] / "sweeps" / "entropy_temperature.py"))["SWEEP"]
POINTS = {"transport.epsilon": 4, "mixing.temperature": 2, "objective.temperature": 4}


def middles(dimension: LogUniform, count: int) -> tuple[float, ...]:
    """Of `count` parts of equal length on the logarithm, to three digits."""
    low, high = math.log(dimension.low), math.log(dimension.high)
    return tuple(float(f"{math.exp(low + (high - low) * (place + 0.5) / count):.3g}") for place in range(count))


def make_grid() -> GridPart:
    """The search's space; a dimension that POINTS does not know is an error, as is one that is not on a logarithm."""
    (search,) = SHIPPED.parts
    axes = {}
    for name, dimension in search.space.items():
        assert isinstance(dimension, LogUniform), name
        axes[name] = middles(dimension, POINTS[name])
    return GridPart("grid", axes=axes, changes=search.changes)


SWEEP = replace(SHIPPED, name="entropy-temperature-grid", parts=(make_grid(),))

if __name__ == "__main__":
    run(SWEEP)
