"""Small ragged problems. Padding is in every one, on both sides, and so is a real token that carries no mass."""

from dataclasses import dataclass

import torch

LENGTHS = ((5, 7), (8, 3), (1, 6), (4, 1), (8, 7))  # student tokens, teacher tokens
WEIGHTLESS = (4, 2)  # pair, student token: real, but its mass is 0


@dataclass(frozen=True)
class Problem:
    cost: torch.Tensor
    a: torch.Tensor
    b: torch.Tensor

    def __iter__(self):
        return iter((self.cost, self.a, self.b))

    def part(self, pair):
        return Problem(self.cost[pair : pair + 1], self.a[pair : pair + 1], self.b[pair : pair + 1])

    @property
    def real(self):
        """Where mass can be."""
        return (self.a > 0)[:, :, None] & (self.b > 0)[:, None, :]


def masks_of(lengths, extra=(2, 1)):
    rows, columns = max(n for n, _ in lengths) + extra[0], max(m for _, m in lengths) + extra[1]
    return (
        torch.tensor([[i < n for i in range(rows)] for n, _ in lengths]),
        torch.tensor([[j < m for j in range(columns)] for _, m in lengths]),
    )


def make_problem(lengths=LENGTHS, seed=0, dtype=torch.float64, equal=False):
    """Costs in [0, 1); masses random unless `equal`."""
    generator = torch.Generator().manual_seed(seed)
    student_mask, teacher_mask = masks_of(lengths)
    cost = torch.rand(len(lengths), student_mask.shape[1], teacher_mask.shape[1], generator=generator, dtype=dtype)
    a, b = (
        mask.to(dtype) * (1 if equal else torch.rand(mask.shape, generator=generator, dtype=dtype) + 0.2)
        for mask in (student_mask, teacher_mask)
    )
    if lengths == LENGTHS:
        a[WEIGHTLESS] = 0
    return Problem(cost, *(mass / mass.sum(1, keepdim=True).clamp_min(1e-9) for mass in (a, b)))


def make_clouds(dtype=torch.float32, seed=0, lengths=LENGTHS, dimension=6):
    """Student tokens, their mask, teacher tokens, their mask."""
    generator = torch.Generator().manual_seed(seed)
    student_mask, teacher_mask = masks_of(lengths, (1, 1))
    student = torch.randn(*student_mask.shape, dimension, generator=generator, dtype=dtype)
    teacher = torch.randn(*teacher_mask.shape, dimension, generator=generator, dtype=dtype)
    return student, student_mask, teacher, teacher_mask
