"""Tiny batches, and a student that is a table of token vectors."""

import torch

from optical_ray.data.batches import Batch


class Table(torch.nn.Module):
    """A student that is a table of token vectors."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.randn(20, 5, generator=torch.Generator().manual_seed(3)))

    def forward(self, ids, attention):
        return self.weight[ids]


def make_batch(seed=0, count=8):
    generator = torch.Generator().manual_seed(seed)
    lengths, teacher_lengths = torch.randint(1, 6, (count,), generator=generator), torch.randint(1, 5, (count,), generator=generator)
    content = torch.arange(7)[None] < lengths[:, None]
    return Batch(
        ids_BN=torch.randint(0, 20, (count, 7), generator=generator),
        attention_BN=content,
        content_BN=content,
        teacher_BMD=torch.randn(count, 6, 5, generator=generator),
        teacher_mask_BM=torch.arange(6)[None] < teacher_lengths[:, None],
        english_B=torch.arange(count),
        language_B=torch.arange(count) % 3,
        english_ids_BK=torch.randint(0, 20, (count, 6), generator=generator),
        english_attention_BK=torch.ones(count, 6, dtype=torch.bool),
        english_content_BK=torch.arange(6)[None] < torch.randint(1, 6, (count,), generator=generator)[:, None],
    )
