"""Is there a regime where transport wins? Long sentences, few pairs, weakest alignment, small epsilon: all of it at once.

Transport is said to be worth its price where a sentence has many tokens to keep apart, the student starts far from the teacher, and pairs
are too few for a contrast among sentences to teach anything. So: sentences of 25 English words and more (lg and ckb, which the encoder
never read), 100 pairs in each, 40 steps of 16 pairs, language means subtracted, epsilon .05 standard deviations of the cost; otherwise
as sweeps/weak_alignment_rates.py. One try for each arm, at the rate that it chose there; one seed. (Planned were three values of epsilon,
of the contrastive temperature and of greedy matching's rate, and pooled MSE; cut before anything ran, for want of time.)

Expectation: OT is better than greedy matching by a little; contrastive, which needs more pairs, is below them.
Decides: whether OT's advantage is worth looking for in a larger experiment, and where.
Cost: 4 trials of about 60 CPU seconds.
"""

from pathlib import Path

from optical_ray.cli import run
from optical_ray.cli.sweep import load_sweep
from optical_ray.sweep import Choice, GridPart, Sweep

RATES = load_sweep(Path(__file__).with_name("weak_alignment_rates.py"))
BY_LANGUAGE = next(part for part in RATES.parts if isinstance(part, GridPart) and part.name == "by language")
ARMS = {choice.name: choice.changes for choice in BY_LANGUAGE.axes["arm"] if isinstance(choice, Choice)}


EPSILON = Choice("OT", {**ARMS["OT"], "transport.epsilon": 0.05})
RIVALS = tuple(Choice(name, ARMS[name]) for name in ("greedy", "contrastive"))

SWEEP = Sweep(
    name="weak-regime",
    question="Is there a regime where transport wins: long sentences, few pairs, weakest alignment, small epsilon?",
    expectation="OT at a small epsilon is better than greedy matching by a little; contrastive is below them.",
    base=RATES.base.override(
        {
            "corpus.path": "corpora/long",
            "languages.pool": ["lg", "ckb"],
            "mixing.pairs": 100,
            "batch.pairs": 16,
            "batch.group": 16,
            "training.max_steps": 40,
            "training.validate_every": 40,
            "training.report_every": 20,
            "training.learning_rate": 5e-5,  # what every arm chose there
            "training.embedding_learning_rate": 5e-5,
            "training.projection_learning_rate": 2.5e-4,
            "teacher.max_tokens": 96,
            "student.max_tokens": 96,
            "evaluation.test_queries": 250,
        }
    ),
    parts=(
        GridPart("arms", {"arm": (EPSILON, *RIVALS)}, BY_LANGUAGE.changes),
        GridPart("control", changes={**BY_LANGUAGE.changes, "training.max_steps": 0}),
    ),
    resources=RATES.resources,
    concurrent_trials=2,
)

if __name__ == "__main__":
    run(SWEEP)
