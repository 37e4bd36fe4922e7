"""How tokens are compared, and how the plan is found. Without torch, so that a recipe is read in a moment."""

from __future__ import annotations

import math
from typing import Literal, Self

from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from optical_ray.config import Config

Backend = Literal["auto", "torch", "cpu", "triton", "exact"]

STAGE_ITERATIONS = 20  # of a stage of annealing
MOST_STAGES = 8  # each doubles the rounding of the one before: 2^8 last digits of float32 move a plan by 3e-5
ANNEAL_FROM = 0.04  # cosine distance: annealing pays from half of it down (measured, docs/LABLOG.md)
CAPS = ((0.2, 100), (0.1, 200), (0.05, 400), (0.02, 1000), (0.01, 2000), (0.0, 4000))
"""(smallest epsilon in cosine distance, iterations): above what Sinkhorn alone needed for 1e-3 on random-unit costs, the hardest kind."""


class CostConfig(Config):
    """How tokens are compared, by every objective alike: the centre of the clouds, the unit of epsilon, the masses of tokens."""

    centre: Literal["none", "teacher-mean", "language-mean"] = "teacher-mean"
    """Vector subtracted from tokens before normalising: nothing; from both sides the mean content token of the teacher's training English;
    or that from the teacher's, and from the student's a running mean of its own tokens of the language, so that nothing is learnt of where
    a language lies as a whole (judge such a student by `evaluation.centre=language-mean`). Raw teacher tokens share one large component,
    and a student trained on them collapses to it while its loss falls."""
    scale: Literal["none", "teacher-std"] = "teacher-std"
    """Unit of `transport.epsilon`: 1 (cosine distance), or the standard deviation of the cost between different tokens of one English
    sentence: the spread that an aligned student faces. Measured on seeded pairs of the plan."""
    marginals: Literal["uniform", "norm"] = "uniform"
    """Mass of a token: equal within a sentence, or in proportion to its length after centring (Yokoi et al. 2020), held constant."""


class SinkhornConfig(Config):
    """How the plan is found."""

    epsilon: NonNegativeFloat = 0.15
    """Entropic regularisation, in units of `cost.scale`; 0 is the exact plan (POT's emd)."""
    tolerance: PositiveFloat = 1e-3
    """Stop a pair when its rows plus columns miss their sums by less than this much probability mass (L1). 1e-3 gives the loss to 0.1 %,
    enough for training; below 1e-5 solves run in float64."""
    max_iterations: PositiveInt | None = None
    """Cap per pair; None: by epsilon and tolerance. A capped solve is reported in `transport/converged`, never hidden."""
    gradient: Literal["envelope", "implicit"] = "envelope"
    """`envelope` holds the plan constant: the exact gradient of the regularised cost. `implicit` is the exact gradient of <T, C> itself."""
    backend: Backend = "auto"
    """`cpu`: compiled, all threads; `torch`: log domain, any device, float64; `triton`: on a GPU, an extra; `exact`: epsilon 0 only;
    `auto`: by device and shape."""
    annealing: bool = True
    """Where epsilon is at most 0.02 (cosine distance), solve at up to 0.04 first and halve on the way down. Not in the Triton kernel."""
    on_nonfinite: Literal["raise", "skip"] = "raise"
    """A NaN or infinite cost: an error that names the pairs, or leave those pairs out (zero gradient) and count them."""

    @model_validator(mode="after")
    def _exact_is_epsilon_zero(self) -> Self:
        if self.epsilon == 0.0 and self.backend not in ("auto", "exact"):
            raise ValueError(f"epsilon=0 is the exact plan, which backend={self.backend} cannot find; use backend=auto or exact")
        if self.epsilon > 0.0 and self.backend == "exact":
            raise ValueError("backend=exact solves epsilon=0 only; set epsilon=0, or another backend")
        return self

    def cap(self, epsilon: float) -> int:
        """Iterations that a pair may take at an epsilon in units of the cost."""
        if self.max_iterations is not None:
            return self.max_iterations
        digits = max(1.0, math.log10(self.tolerance) / -3.0)  # convergence is linear: as many iterations again for every further digit
        return round(digits * next(cap for smallest, cap in CAPS if epsilon >= smallest))

    def stages(self, epsilon: float) -> int:
        """How often epsilon (in units of the cost) is doubled for a start."""
        most = self.cap(epsilon) // (2 * STAGE_ITERATIONS)  # half of the cap is left for epsilon itself
        return min(most, MOST_STAGES, max(0, math.floor(math.log2(ANNEAL_FROM / epsilon)))) if self.annealing else 0
