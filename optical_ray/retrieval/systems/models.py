"""A model that encodes one side, named by its folder: a student, or any encoder in a layout that others save. Loaded where it is used.

B texts, N tokens, D dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal, NamedTuple

from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import normalize
from transformers import PreTrainedTokenizerBase

from optical_ray.artifacts import fingerprint
from optical_ray.data.teacher_centre import identify_model
from optical_ray.encoders.config import TeacherConfig, TextForm
from optical_ray.encoders.interaction import TokenClouds
from optical_ray.encoders.layout import STUDENT, Pooling, TextHabit, read_layout
from optical_ray.encoders.pretrained import check_chain, find_model, load_dense, load_sentence_dense, load_tokenizer, read_config
from optical_ray.encoders.student_folder import CENTRE, load_student, read_description
from optical_ray.encoders.teacher import load_teacher
from optical_ray.encoders.tokenizer import tokenize
from optical_ray.errors import ModelError
from optical_ray.retrieval.encoding import Forward, encode_table, pool_table

Kind = Literal["query", "document"]
KINDS: tuple[Kind, ...] = ("query", "document")
TOKENS = {"query": 64, "document": 256}
"""Length limit of a text where neither the folder nor the user names one."""
POOLINGS = ("mean", "cls")
"""Of dense models: what can be done as their folders ask for it."""
VERSION = 1
"""Of the way that texts are encoded: another one, other fingerprints."""


@dataclass(frozen=True, slots=True)
class Model:
    """A folder (or hub id) and how it reads texts."""

    path: str
    revision: str | None = None
    """Of a hub id."""
    projection: Literal["folder", "none"] = "folder"
    """As `TeacherConfig.projection`; a student's own always stays."""

    @property
    def is_student(self) -> bool:
        """A checkpoint of a trial, or an export."""
        return (Path(self.path).expanduser() / STUDENT).is_file()

    @property
    def fingerprint(self) -> str:
        """40 hex digits of the files' contents."""
        path = str(Path(self.path).expanduser()) if Path(self.path).expanduser().is_dir() else self.path
        return fingerprint({"model": identify_model(path, self.revision), "projection": self.projection})

    @property
    def dimension(self) -> int:
        """D of token vectors, read without the encoder's weights.

        Raises:
            ModelError: no such model, or its parts do not fit each other.
        """
        if self.is_student:
            return read_description(Path(self.path).expanduser()).dimension
        width = int(read_config(self.path, self.revision).hidden_size)
        dense = load_dense(self.path, self.revision) if self.projection == "folder" else []
        check_chain(self.path, dense, width)
        return dense[-1].linear.out_features if dense else width

    @property
    def pooling(self) -> Pooling | None:
        """How the folder makes one vector of a text; None: it does not."""
        return None if self.is_student else read_layout(find_model(self.path), self.revision).pooling

    def form(self, kind: Kind, prefix: str | None = None, max_tokens: int | None = None) -> TextForm:
        """How it reads queries or documents: as asked for, else as its folder says (of this kind, or of any text), else without prefix and
        to TOKENS.

        Raises:
            ModelError: no such model.
        """
        habit: TextForm | TextHabit
        positions = _positions(self)
        unsaid = TOKENS[kind]
        if self.is_student:
            description = read_description(Path(self.path).expanduser())
            habit = description.query if kind == "query" else description.document
        else:
            layout = read_layout(find_model(self.path), self.revision)
            habit = layout.query if kind == "query" else layout.document
            unsaid = layout.max_tokens or unsaid
        limit = max_tokens or habit.max_tokens or min(unsaid, positions or unsaid)
        if positions is not None and limit > positions:
            raise ModelError(f"{self.path}: reads at most {positions} tokens, a {kind} may have {limit}; lower --{kind}-tokens")
        return TextForm((habit.prefix or "") if prefix is None else prefix, limit)

    def centre(self) -> Tensor | None:
        """The teacher's mean token that a student keeps, [D]; None: it is no student.

        Raises:
            ModelError: the student's folder lacks it.
        """
        if not self.is_student:
            return None
        file = Path(self.path).expanduser() / CENTRE
        if not file.is_file():
            raise ModelError(f"{self.path}: no {CENTRE}, which every student's folder has; copy the folder again")
        return load_file(file)["centre"]

    @property
    def centred(self) -> bool:
        """Its vectors have lost the teacher's mean token already."""
        return self.is_student and read_description(Path(self.path).expanduser()).centred


def _positions(model: Model) -> int | None:
    """How many tokens its position table reads; those of RoBERTa's kin begin behind that of padding."""
    config = read_config(model.path, model.revision)
    table = getattr(config, "max_position_embeddings", None)
    if table is None:
        return None
    behind_padding = config.model_type in {"roberta", "xlm-roberta", "camembert", "mpnet", "xlm-roberta-xl"}
    return int(table) - (int(config.pad_token_id or 0) + 1 if behind_padding else 0)


class Loaded(NamedTuple):
    """A model in memory."""

    forward: Forward
    tokenizer: PreTrainedTokenizerBase
    dimension: int


def load_model(model: Model, device: str) -> Loaded:
    """The model, once in a process for as long as its files stay the same; two are kept.

    Raises:
        ModelError: as `load_student` or `load_teacher`.
    """
    return _load(model, model.fingerprint, device)


@lru_cache(maxsize=2)
def _load(model: Model, fingerprint: str, device: str) -> Loaded:
    if model.is_student:
        path = Path(model.path).expanduser()
        student = load_student(path).to(device).eval()
        return Loaded(student, load_tokenizer(str(path)), student.projection.out_features)
    teacher = load_teacher(model.path, TeacherConfig(path=model.path, revision=model.revision, projection=model.projection), device)
    return Loaded(teacher.encode, teacher.tokenizer, teacher.dimension)


def _name_side(vectors: str, model: Model, form: TextForm) -> str:
    """The fingerprint of what a side's encodings depend on."""
    read = {"prefix": form.prefix, "max_tokens": form.max_tokens}
    return fingerprint({"version": VERSION, "vectors": vectors, "model": model.fingerprint, "form": read})


@dataclass(frozen=True, slots=True)
class TokenSide:
    """Queries or documents as one vector a token. A `Side`."""

    model: Model
    form: TextForm
    device: str = "cpu"

    @property
    def fingerprint(self) -> str:
        return _name_side("tokens", self.model, self.form)

    @property
    def dimension(self) -> int:
        return self.model.dimension

    def encode(self, texts: Sequence[str]) -> TokenClouds:
        """As `Side.encode`.

        Raises:
            ModelError: as `load_model`, or the tokenizer is not a fast one.
        """
        loaded = load_model(self.model, self.device)
        table = tokenize(loaded.tokenizer, texts, self.form.max_tokens, self.form.prefix)
        return encode_table(loaded.forward, loaded.dimension, table, self.device)


@dataclass(frozen=True, slots=True)
class SentenceSide:
    """Queries or documents as one vector a text, as a dense model's own folder pools them. A `Side` whose clouds hold one vector each."""

    model: Model
    form: TextForm
    device: str = "cpu"

    @property
    def fingerprint(self) -> str:
        return _name_side("texts", self.model, self.form)

    @property
    def dimension(self) -> int:
        behind = load_sentence_dense(self.model.path, self.model.revision)
        return behind[-1].linear.out_features if behind else self.model.dimension

    def encode(self, texts: Sequence[str]) -> TokenClouds:
        """As `Side.encode`.

        Raises:
            ModelError: the folder pools in a way that is none of POOLINGS, or as `load_model`.
        """
        loaded = load_model(self.model, self.device)
        pooling = self.model.pooling
        if pooling is None or pooling.mode not in POOLINGS:
            found = "none" if pooling is None else pooling.mode
            raise ModelError(f"{self.model.path}: pools its tokens by {found!r}, expected one of {', '.join(POOLINGS)}")
        behind = nn.Sequential(*load_sentence_dense(self.model.path, self.model.revision)).to(self.device)

        def pool(ids_BN: Tensor, attention_BN: Tensor, told_BN: Tensor) -> Tensor:
            states_BND = loaded.forward(ids_BN, attention_BN)
            if pooling.mode == "cls":
                pooled_BD = states_BND[:, 0]
            else:
                mask_BN1 = (attention_BN if pooling.include_prompt else told_BN & attention_BN).to(states_BND)[..., None]
                pooled_BD = (states_BND * mask_BN1).sum(1) / mask_BN1.sum(1).clamp_min(1)
            found: Tensor = behind(pooled_BD)
            return normalize(found, dim=1)

        table = tokenize(loaded.tokenizer, texts, self.form.max_tokens, self.form.prefix)
        return pool_table(pool, self.dimension, table, self.device)


def check_dimensions(queries: Model, documents: Model) -> None:
    """Refuse two models whose token vectors cannot be compared.

    Raises:
        ModelError: their dimensions differ.
    """
    if (first := queries.dimension) != (second := documents.dimension):
        raise ModelError(
            f"{queries.path}: its token vectors have {first} dimensions, those of {documents.path} have {second}; "
            "give the teacher that this model was distilled from (--documents)"
        )
