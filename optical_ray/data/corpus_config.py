"""Which bitext (or text), cleaned by which rules, split how. Without compiled loops, so that a recipe is read in a moment."""

from __future__ import annotations

from typing import Any, Literal, Self, get_args

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, field_validator, model_validator

from optical_ray.config import Config
from optical_ray.data.reading.chunks import Kind
from optical_ray.data.reading.spec import CATALOGS

Split = Literal["train", "valid", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)


class SplitConfig(Config):
    """Shares of the English keys, not of the pairs: a language's own shares vary around them."""

    valid_share: float = Field(default=0.12, ge=0, lt=1)
    """Choices (search, pruning, early stopping) see these."""
    test_share: float = Field(default=0.15, ge=0, lt=1)
    """Looked at once, after training."""
    salt: str = ""
    """Another salt gives another partition of the same shares."""

    @model_validator(mode="after")
    def _something_to_train_on(self) -> Self:
        if self.valid_share + self.test_share >= 1:
            raise ValueError(
                f"valid_share + test_share is {self.valid_share + self.test_share:g}, which leaves nothing to train on; keep it below 1"
            )
        return self


class CleaningConfig(Config):
    """The rules. A rule that is off drops nothing."""

    strip_markup: bool = True
    """Take tags and URLs out of both sides before anything is counted."""
    drop_placeholders: bool = True
    """`placeholder`: a side has a variable (`%s`, `{name}`, ICU plurals). Dropped, not stripped: what is left is no sentence."""
    min_english_words: NonNegativeInt = 3
    """`short`: fewer words on the English side; of text alone, fewer words that have a letter (in a script without spaces every five
    characters' worth of English are a word, in `long` too)."""
    max_words: PositiveInt | None = 128
    """`long`: more whitespace-separated words on either side; None: off."""
    min_length_ratio: float = Field(default=0.3, ge=0)
    """`ratio`: text / English, in characters (one Han character counts as three, kana and hangul as two)."""
    max_length_ratio: PositiveFloat | None = 3.0
    """`ratio`: the same, from above; None: off."""
    min_script_share: float = Field(default=0.5, ge=0, le=1)
    """`script`: share of a side's letters that are in the language's script (English: Latin); 0: off."""
    drop_copies: bool = True
    """`copy`: the text is the English, but for case, punctuation and spaces."""
    identify_language: bool = False
    """`language`: the text is found to be in another language (extra `langid`; 0.1 ms a row, as much as everything else ten times)."""
    min_language_confidence: float = Field(default=0.7, gt=0, le=1)
    """`language`: how sure the identifier has to be. At 0.7 it takes 0.1 % of Tatoeba's sentences (72 languages, the worst 2 %) and 72 % of
    those that were planted from another language of the script; of NTREX's longer ones 0.02 % and 94 %."""
    duplicates: Literal["english", "pair", "keep"] = "english"
    """`duplicate`: a language has one row of each English sentence (of text alone: of each text) | of each pair of sentences | all rows.
    Of two that are the same but for case, punctuation and spaces the first one stays."""
    near_duplicates: Literal["off", "held-out", "all"] = "held-out"
    """`near-duplicate`: the English (or the text alone) nearly equals another, of any language. `held-out` drops from train what nearly
    equals a test or a validation sentence, and from valid what nearly equals a test sentence; `all` leaves one of a kind, the better
    protected one. Sentences count that cleaning left in any language, also in one that `min_pairs` then leaves out."""
    near_duplicate_similarity: float = Field(default=0.8, ge=0.6, le=0.95)
    """`near-duplicate`: from this Jaccard index of character trigrams on. One changed word of five: about 0.7."""

    @model_validator(mode="after")
    def _ratios_in_order(self) -> Self:
        if self.max_length_ratio is not None and self.min_length_ratio > self.max_length_ratio:
            raise ValueError(f"min_length_ratio={self.min_length_ratio:g} is above max_length_ratio={self.max_length_ratio:g}")
        return self


class CorpusConfig(Config):
    """Which bitext (or text), cleaned and split how."""

    path: str | None = None
    """A corpus that `optical data build --out` made; its own rules hold, no other field may contradict them. None: `sources`."""
    kind: Kind = "bitext"
    """`text`: text of each language alone, English like any other, for masked-LM pre-training; distillation needs `bitext`."""
    sources: tuple[str, ...] = (CATALOGS,)
    """`catalogs` (translation catalogs of the pinned wheels), files, folders, globs, URIs or `hf:OWNER/NAME`, each followed by `,key=value`
    where its format, language or columns need saying; of two rows of the same English the earlier source's stays."""
    min_pairs: PositiveInt = 200
    """A language of which cleaning leaves fewer pairs (of text: rows) is not in the corpus (the manifest lists it)."""
    unknown_languages: Literal["refuse", "skip"] = "refuse"
    """What to do about a code that is no language; the manifest lists what was skipped."""
    on_bad_row: Literal["refuse", "skip"] = "refuse"
    """What to do about damage inside a source (a line of other columns, invalid UTF-8, a file cut short); the manifest counts it."""
    cleaning: CleaningConfig = CleaningConfig()
    """Rules, each with a switch."""
    split: SplitConfig = SplitConfig()
    """Shares of train, valid and test."""

    @field_validator("sources", mode="before")
    @classmethod
    def _one_source(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @field_validator("sources")
    @classmethod
    def _some_source(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value:
            raise ValueError("no source; name one, or leave the field out for the catalogs")
        return value
