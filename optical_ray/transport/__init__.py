"""Entropic optimal transport between two small token clouds. Pure tensors: knows nothing of text, files or training."""

from optical_ray.transport.cost import CostConfig, GroundCost, measure_centre, measure_unit
from optical_ray.transport.gradient import regularised_cost, transport_cost
from optical_ray.transport.loss import TransportLoss, transport_loss
from optical_ray.transport.marginals import inverse_document_frequency, norm_mass, uniform_mass, weighted_mass
from optical_ray.transport.plan import Diagnostics, Potentials, TransportPlan
from optical_ray.transport.sinkhorn import SinkhornConfig, solve_sinkhorn

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
