"""What masked-LM does to embeddings beside teaching them, measured and undone (docs/decisions/017).

Ahead of the LayerNorm that BERT's kin put on the sum of word, position and segment embeddings, length and a vector that all have in common
say nothing about words; masked-LM grows both, as its softmax uses the same table. V pieces, D dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class TableStatistics:
    """Of some rows of an embedding table."""

    mean_D: Tensor
    std: float
    """Root mean square of the rows less their mean, over rows and dimensions."""
    common_share: float
    """Squared length of the mean over the mean squared length of a row: 1 where all rows are one vector."""

    @classmethod
    def of(cls, rows_VD: Tensor) -> Self:
        """Measure at least one row."""
        rows = rows_VD.double()
        mean_D = rows.mean(0)
        power = rows.square().sum(1).mean()
        share = float(mean_D.square().sum() / power) if power > 0 else 0.0
        return cls(mean_D, float((rows - mean_D).square().mean().sqrt()), share)

    def describe(self) -> dict[str, float]:
        """Plain data."""
        return {"std": self.std, "common_share": self.common_share}


def normalise_embeddings(model: Any, before: Any, occurring_V: Tensor) -> dict[str, Any]:
    """Give an encoder's embeddings the mean and the spread back that they began with; its other weights stay.

    Words that occur in training and words that do not (which the softmax pushes away from every context, all along one direction) are two
    groups, each moved to its own statistics of the start. Positions lose what they have gained in common and are scaled like the words
    that occur; segments go back to where they began, as every text is of one segment. An encoder that was not trained stays as it is.

    Args:
        model: The trained encoder; changed in place.
        before: The same encoder as it began.
        occurring_V: bool [V], which pieces occur in training.

    Returns:
        Plain data: statistics of each group at the start and at the end, and the factor on it.
    """
    found: dict[str, Any] = {}
    with torch.no_grad():
        words_VD, start_VD = model.get_input_embeddings().weight, before.get_input_embeddings().weight
        scale = 1.0
        for name, chosen_V in (("occurring", occurring_V), ("other", ~occurring_V)):
            if not chosen_V.any():
                continue
            rows, facts = _restore(words_VD[chosen_V], start_VD[chosen_V])
            words_VD[chosen_V] = rows
            found[name] = facts | {"pieces": int(chosen_V.sum())}
            scale = facts["factor"] if name == "occurring" else scale
        for name, table, start in _other_tables(model, before):
            changed = (table.weight != start.weight).any(1)
            if not changed.any():
                continue
            rows = table.weight[changed]
            found[name] = {"rows": int(changed.sum()), "end": TableStatistics.of(rows).describe()}
            if "token_type" in name:
                table.weight.copy_(start.weight)
            else:
                moved = (rows.double() - rows.double().mean(0)) * scale + start.weight[changed].double().mean(0)
                table.weight[changed] = moved.to(rows.dtype)
    return found


def _restore(rows_VD: Tensor, start_VD: Tensor) -> tuple[Tensor, dict[str, Any]]:
    """Rows with the mean and spread of the start, and what was measured."""
    now, start = TableStatistics.of(rows_VD), TableStatistics.of(start_VD)
    factor = start.std / now.std if now.std > 0 else 1.0
    restored = rows_VD if torch.equal(rows_VD, start_VD) else ((rows_VD.double() - now.mean_D) * factor + start.mean_D).to(rows_VD.dtype)
    return restored, {"start": start.describe(), "end": now.describe(), "factor": factor}


def _other_tables(model: Any, before: Any) -> list[tuple[str, nn.Embedding, nn.Embedding]]:
    """Position and segment embeddings, where an encoder has them."""
    words = model.get_input_embeddings()
    found = []
    for (name, table), (_, start) in zip(
        getattr(model, "embeddings", nn.Module()).named_children(), getattr(before, "embeddings", nn.Module()).named_children(), strict=True
    ):
        if isinstance(table, nn.Embedding) and table is not words:
            found.append((name, table, start))
    return found
