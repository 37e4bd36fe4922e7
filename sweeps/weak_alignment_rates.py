"""Which learning rate does each objective want, for a weakly aligned encoder? The first half of sweeps/weak_alignment.py: validation.

Student: the first 4 layers of multilingual-e5-small, whose tokens of a sentence and of its translation are far apart; teacher: all 12
layers, frozen, so that the student has to learn another space as well as other languages. 300 pairs in each of four low-resource languages,
sentences of 5 to 20 words. Made beforehand, in the folder that this is run from:

    models/e5-4-layers, models/e5-12-layers   the encoder, cut and whole, with `tools/trim_vocabulary.py ... corpora/short corpora/long`
    corpora/short    `optical data build` on TICO-19 in lg om ckb my: cleaning.max_words=20 cleaning.min_english_words=5
                     split.valid_share=0.13 split.test_share=0.25
    corpora/long     the same with cleaning.min_english_words=25 split.valid_share=0.15 split.test_share=0.25

lg and ckb are in no pre-training text of the encoder's parent (XLM-R), om is with little, my with its own script.

Expectation: the middle rate for most; matching objectives want more than contrastive.
Changed while it ran, by validation scores and the machine's load. After five trials: the rates had been 5e-5, 2e-4, 8e-4, and 2e-4 was far
below 5e-5. After 14: raw arms get two tries, the lower ones (at 2e-4 OT and greedy had collapsed); argmax and score KL left out for want of
time. After 20: arms under the teacher's mean get the two higher ones (OT: .150 at 1.25e-5, .394 at 5e-5, from .083: a long way to go).
Decides: CHOSEN in sweeps/weak_alignment.py. Every arm gets the same tries under a centre, one seed; of the test split 8 queries a
language are scored, because a trial ends with some, and nobody reads them.
Cost: 31 trials of 40 to 60 CPU seconds.
"""

from optical_ray.cli import run
from optical_ray.recipe import Recipe, Resources
from optical_ray.sweep import Choice, GridPart, Sweep

TERMS = ("transport", "greedy", "argmax", "pooled_mse", "contrastive", "score_kl")


def arm(name: str, **weights: float) -> Choice:
    """Only these terms."""
    return Choice(name, {f"objective.{term}": weights.get(term, 0.0) for term in TERMS})


ARMS = (
    arm("OT", transport=1.0),
    arm("greedy", greedy=1.0),
    arm("pooled MSE", pooled_mse=1.0),
    arm("contrastive", contrastive=1.0),
)
MIXED = arm("OT + contrastive", transport=1.0, contrastive=0.3)
RATES = (1.25e-5, 5e-5, 2e-4)


def centre(name: str) -> dict[str, str]:
    """Subtracted in training and, the same, before scoring."""
    return {"cost.centre": name, "evaluation.centre": name}


def rate(body: float) -> Choice:
    """Rates of body and embeddings; the projection, which starts as the identity and has far to go, gets five times that."""
    return Choice(
        f"{body:g}",
        {
            "training.learning_rate": body,
            "training.embedding_learning_rate": body,
            "training.projection_learning_rate": 5 * body,
        },
    )


BASE = Recipe().override(
    {
        "corpus.path": "corpora/short",
        "teacher.path": "models/e5-12-layers",
        "teacher.prefix": "query: ",  # as E5 wants it on both sides of bitext
        "teacher.max_tokens": 48,
        "student.init": "models/e5-4-layers",
        "student.prefix": "query: ",
        "student.max_tokens": 48,
        "languages.pool": ["lg", "om", "ckb", "my"],
        "mixing.budget": "per_language",
        "mixing.pairs": 300,
        "batch.pairs": 32,
        "batch.group": 32,
        "training.max_steps": 50,
        "training.warmup_share": 0.1,
        "training.precision": "bf16",
        "training.report_every": 25,
        "training.validate_every": 50,
        "training.checkpoint_every": 1000,
        "evaluation.valid_queries": 120,
        "evaluation.test_queries": 8,
        "evaluation.candidates": 300,
    }
)
SWEEP = Sweep(
    name="weak-rates",
    question="Which learning rate does each objective want, for a weakly aligned encoder?",
    expectation="The middle rate for most; matching objectives want more than contrastive.",
    base=BASE,
    parts=(
        GridPart("raw", {"arm": ARMS, "rate": tuple(map(rate, RATES[:2]))}, centre("none")),
        GridPart("centred", {"arm": ARMS, "rate": tuple(map(rate, RATES[1:]))}, centre("teacher-mean")),
        GridPart("by language", {"arm": (*ARMS, MIXED), "rate": tuple(map(rate, RATES))}, centre("language-mean")),
    ),
    resources=Resources(threads=1),
    concurrent_trials=2,
)

if __name__ == "__main__":
    run(SWEEP)
