"""What all models that are trained here have in common: student, masked language model, teacher."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


class Trainable(nn.Module):
    """Reads token ids; its weights learn at three rates: word embeddings, head, and the encoder's body.

    B sentences, N tokens, D dimensions.
    """

    encoder: nn.Module
    """A Hugging Face encoder."""

    def forward(self, ids_BN: Tensor, attention_BN: Tensor) -> Tensor:
        """Token vectors [B, N, D]."""
        raise NotImplementedError

    def embedding_parameters(self) -> list[nn.Parameter]:
        """The word embeddings: each row is learnt rarely."""
        encoder: Any = self.encoder
        return list(encoder.get_input_embeddings().parameters())

    def head_parameters(self) -> list[nn.Parameter]:
        """What stands behind the encoder."""
        raise NotImplementedError
