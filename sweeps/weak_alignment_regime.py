"""Is there a regime where transport wins? Long sentences, few pairs, weakest alignment, small epsilon: all of it at once.

Transport is said to be worth its price where a sentence has many tokens to keep apart, the student starts far from the teacher, and pairs
are too few for a contrast among sentences to teach anything. So: sentences of 25 English words and more (lg and ckb, which the encoder
never read), 100 pairs in each, 40 steps of 16 pairs, language means subtracted; otherwise as sweeps/weak_alignment_rates.py. Three
tries for each arm: OT varies epsilon (in standard deviations of the cost), contrastive its temperature, greedy, which has no such knob, its
rate. The choice is made on `valid/Success@1`, the test score of the chosen try is read; one seed.

Expectation: OT at .05 or .02 is the best of the matching objectives by a little; contrastive, which needs more pairs, is below them.
Decides: whether OT's advantage is worth looking for in a larger experiment, and where.
Cost: 10 trials of about 60 CPU seconds.
"""

from pathlib import Path

from optical_ray.cli import run
from optical_ray.cli.sweep import load_sweep
from optical_ray.sweep import Choice, GridPart, Sweep

RATES = load_sweep(Path(__file__).with_name("weak_alignment_rates.py"))
BY_LANGUAGE = next(part for part in RATES.parts if isinstance(part, GridPart) and part.name == "by language")
ARMS = {choice.name: choice.changes for choice in BY_LANGUAGE.axes["arm"] if isinstance(choice, Choice)}


KNOBS = {
    "epsilon": ("transport.epsilon",),
    "temperature": ("objective.temperature",),
    "rate": ("training.learning_rate", "training.embedding_learning_rate"),
}


def tries(arm: str, knob: str, values: tuple[float, ...]) -> GridPart:
    """One part for an arm: every value of its knob."""
    choices = []
    for value in values:
        changes = dict.fromkeys(KNOBS[knob], value)
        choices.append(Choice(f"{value:g}", {**changes, "training.projection_learning_rate": 5 * value} if knob == "rate" else changes))
    return GridPart(arm, {knob: tuple(choices)}, {**BY_LANGUAGE.changes, **ARMS[arm]})


SWEEP = Sweep(
    name="weak-regime",
    question="Is there a regime where transport wins: long sentences, few pairs, weakest alignment, small epsilon?",
    expectation="OT at a small epsilon is the best of the matching objectives by a little; contrastive is below them.",
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
            "training.learning_rate": 5e-5,  # chosen there for OT, and for greedy and pooled MSE too
            "training.embedding_learning_rate": 5e-5,
            "training.projection_learning_rate": 2.5e-4,
            "teacher.max_tokens": 96,
            "student.max_tokens": 96,
            "evaluation.test_queries": 250,
        }
    ),
    parts=(
        GridPart("control", changes={**BY_LANGUAGE.changes, "training.max_steps": 0}),
        tries("OT", "epsilon", (0.02, 0.05, 0.15)),
        tries("greedy", "rate", (2.5e-5, 5e-5, 1e-4)),
        tries("contrastive", "temperature", (0.02, 0.05, 0.1)),
    ),
    resources=RATES.resources,
    concurrent_trials=2,
)

if __name__ == "__main__":
    run(SWEEP)
