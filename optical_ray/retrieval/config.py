"""Which questions are asked of a student."""

from __future__ import annotations

from pydantic import PositiveInt

from optical_ray.config import Config
from optical_ray.encoders.interaction import Scorer


class EvaluationConfig(Config):
    """Held-out bitext retrieval: a foreign sentence looks for its English translation among candidates of the same split."""

    languages: tuple[str, ...] = ()
    """Query languages, trained on or not; empty: the pool of `languages`."""
    objective_languages: tuple[str, ...] = ()
    """Languages whose mean validation Success@1 is the objective (`valid/Success@1`); empty: those in training. A search over language sets
    must name them, or it would choose easy languages."""
    valid_queries: PositiveInt = 100
    """Queries per language of the validation split (fewer where the corpus has fewer; counted)."""
    test_queries: PositiveInt = 150
    """Queries per language of the test split."""
    candidates: PositiveInt = 300
    """English candidates per language: the queries' translations and others of the split."""
    scorer: Scorer = "maxsim"
    """The scorer that `valid/Success@1` is computed with; all are stored."""
    centre: bool = False
    """Subtract the teacher's mean token from both sides before scoring, as the training cost does; false: raw tokens, as any index of
    late interaction takes them."""
    seed: int = 0
    """Of the choice of queries and candidates; apart from the recipe's seed, so that seeds are compared on the same queries."""
