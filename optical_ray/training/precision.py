"""How the model computes in training: in which precision, compiled or not. Validation and test always read it in float32."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from optical_ray.encoders.trainable import Trainable
from optical_ray.errors import ResourceError
from optical_ray.training.config import TrainingConfig


@dataclass(frozen=True, slots=True)
class Forward:
    """The model as an objective calls it. B pairs, N tokens, D dimensions."""

    model: Trainable
    device: str
    bf16: bool

    def __call__(self, ids_BN: Tensor, attention_BN: Tensor) -> Tensor:
        """Token vectors [B, N, D], float32 whatever the passes run in: costs are formed in float32."""
        if not self.bf16:
            tokens_BND: Tensor = self.model(ids_BN, attention_BN)
            return tokens_BND
        with torch.autocast(torch.device(self.device).type, torch.bfloat16):
            tokens_BND = self.model(ids_BN, attention_BN)
        return tokens_BND.float()


def prepare_forward(model: Trainable, config: TrainingConfig, device: str) -> Forward:
    """The model in training mode, in the precision asked for.

    Args:
        model: Compiled in place where the config says so: the names of its weights stay.
        config: `precision`, `compile`.
        device: Where the model is.

    Raises:
        ResourceError: bf16 is asked for on a GPU that has none.
    """
    model.train()
    if config.compile:
        model.encoder.compile(dynamic=True)  # one graph for all lengths
    return Forward(model, device, runs_in_bf16(config.precision, device))


def runs_in_bf16(precision: Literal["auto", "fp32", "bf16"], device: str) -> bool:
    on_gpu = device.startswith("cuda")
    able = not on_gpu or torch.cuda.is_bf16_supported(including_emulation=False)
    if precision == "bf16" and not able:
        raise ResourceError(f"training.precision=bf16: {torch.cuda.get_device_name(device)} has no bfloat16; use auto or fp32")
    return precision == "bf16" or (precision == "auto" and on_gpu and able)
