"""Entropic optimal transport between two small token clouds. Pure tensors: knows nothing of text, files or training."""

import importlib
from typing import TYPE_CHECKING, Any

from optical_ray.transport.config import CostConfig, SinkhornConfig

if TYPE_CHECKING:
    from optical_ray.transport.cost import GroundCost, measure_centre, measure_unit
    from optical_ray.transport.gradient import regularised_cost, transport_cost
    from optical_ray.transport.loss import TransportLoss, transport_loss
    from optical_ray.transport.marginals import inverse_document_frequency, norm_mass, uniform_mass, weighted_mass
    from optical_ray.transport.plan import Diagnostics, Potentials, TransportPlan
    from optical_ray.transport.sinkhorn import solve_sinkhorn

__all__ = [
    "CostConfig",
    "Diagnostics",
    "GroundCost",
    "Potentials",
    "SinkhornConfig",
    "TransportLoss",
    "TransportPlan",
    "inverse_document_frequency",
    "measure_centre",
    "measure_unit",
    "norm_mass",
    "regularised_cost",
    "solve_sinkhorn",
    "transport_cost",
    "transport_loss",
    "uniform_mass",
    "weighted_mass",
]

_HOMES = {
    "cost": ("GroundCost", "measure_centre", "measure_unit"),
    "gradient": ("regularised_cost", "transport_cost"),
    "loss": ("TransportLoss", "transport_loss"),
    "marginals": ("inverse_document_frequency", "norm_mass", "uniform_mass", "weighted_mass"),
    "plan": ("Diagnostics", "Potentials", "TransportPlan"),
    "sinkhorn": ("solve_sinkhorn",),
}


def __getattr__(name: str) -> Any:
    """Imported when it is asked for (PEP 562): a recipe needs the configs, and not torch."""
    for home, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
