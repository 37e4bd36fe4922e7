"""Reduction over data-parallel workers. One worker needs no process group; the loop does not know the difference."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

BUCKET_BYTES = 16 * 2**20
"""Gradients are summed in flat pieces of about this size: few calls, and little memory beside the gradients' own."""


@dataclass(frozen=True, slots=True)
class Parallel:
    """This worker among its peers. With more than one, torch's process group must be up (Ray Train sets it up).

    Everything here is a collective: every worker must call it, in the same order, or the others wait. So nothing that can fail on one
    worker alone may stand between two of them; what can fail is caught, and agreed upon (`accumulation.py`).
    """

    rank: int = 0
    workers: int = 1
    device: str = "cpu"

    @property
    def is_main(self) -> bool:
        """True for the one worker that writes files."""
        return self.rank == 0

    def sum(self, values: Tensor) -> Tensor:
        """Elementwise sum over all workers; detached, on this worker's device."""
        values = values.detach().to(self.device, copy=True)
        if self.workers > 1:
            torch.distributed.all_reduce(values)
        return values

    def largest(self, values: Tensor) -> Tensor:
        """Elementwise maximum over all workers; detached, on this worker's device."""
        values = values.detach().to(self.device, copy=True)
        if self.workers > 1:
            torch.distributed.all_reduce(values, torch.distributed.ReduceOp.MAX)
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

    def gather_text(self, text: str) -> str:
        """What the workers have to say, one after the other, on every worker; those with nothing are left out."""
        said = text.replace("\n", " ") + "\n" if text else ""
        rows = self.gather(torch.tensor(list(said.encode()), dtype=torch.uint8, device=self.device))
        return "; ".join(bytes(rows.tolist()).decode().splitlines())

    def share_weights(self, module: nn.Module) -> None:
        """Give every worker the main worker's weights and buffers: they were built alike, and now they are equal bit for bit."""
        if self.workers > 1:
            for tensor in (*module.parameters(), *module.buffers()):
                torch.distributed.broadcast(tensor.detach(), 0)

    def sum_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Replace each parameter's gradient by its sum over all workers, equal bit for bit on all of them.

        Args:
            parameters: The same on every worker, in the same order; one without a gradient here counts as zero.
        """
        if self.workers == 1:
            return
        for bucket in _buckets(parameters):
            flat = torch.cat([(torch.zeros_like(each) if each.grad is None else each.grad).flatten() for each in bucket])
            for parameter in bucket:
                parameter.grad = None
            torch.distributed.all_reduce(flat)
            start = 0
            for parameter in bucket:
                parameter.grad = flat[start : start + parameter.numel()].view_as(parameter)
                start += parameter.numel()


def _buckets(parameters: Sequence[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    bucket: list[nn.Parameter] = []
    size = 0
    for parameter in parameters:
        if bucket and (size + parameter.nbytes > BUCKET_BYTES or parameter.dtype != bucket[0].dtype):
            yield bucket
            bucket, size = [], 0
        bucket.append(parameter)
        size += parameter.nbytes
    if bucket:
        yield bucket
