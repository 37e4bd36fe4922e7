"""Reduction over data-parallel workers. One worker needs no process group; the loop does not know the difference."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Parallel:
    """This worker among its peers. With more than one, torch's process group must be up (Ray Train sets it up)."""

    rank: int = 0
    workers: int = 1
    device: str = "cpu"

    @property
    def is_main(self) -> bool:
        """True for the one worker that writes files."""
        return self.rank == 0

    def sum(self, values: Tensor) -> Tensor:
        """Elementwise sum over all workers; detached."""
        values = values.detach().clone()
        if self.workers > 1:
            torch.distributed.all_reduce(values)
        return values

    def gather(self, rows: Tensor) -> Tensor:
        """The rows of all workers in the order of their ranks, on every worker; each may have its own number of them. Detached."""
        if self.workers == 1:
            return rows.detach()
        count = torch.tensor([len(rows)], device=rows.device)
        counts = [torch.empty_like(count) for _ in range(self.workers)]
        torch.distributed.all_gather(counts, count)
        longest = max(int(count) for count in counts)
        padded = rows.new_zeros(longest, *rows.shape[1:])  # the collective wants as many of everyone
        padded[: len(rows)] = rows.detach()
        parts = [torch.empty_like(padded) for _ in range(self.workers)]
        torch.distributed.all_gather(parts, padded)
        return torch.cat([part[: int(count)] for part, count in zip(parts, counts, strict=True)])

    def wrap(self, module: nn.Module) -> nn.Module:
        """The module with gradients averaged over workers during the backward pass (so losses are multiplied by `workers`)."""
        if self.workers == 1:
            return module
        ids = [torch.device(self.device).index or 0] if self.device.startswith("cuda") else None
        return nn.parallel.DistributedDataParallel(module, device_ids=ids)
