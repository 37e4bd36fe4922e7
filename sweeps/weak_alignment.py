"""Does transport teach a weakly aligned student more than simpler objectives do, and how much of it is centring?

The setting (encoder, corpora, how to make them) is that of sweeps/weak_alignment_rates.py, whose trials chose the rates below on
validation. Arms at an equal budget (50 steps of 32 pairs, 300 pairs in each of lg om ckb my, equal tries of the rate), with nothing, the
teacher's mean token, or each side's own mean subtracted, in training and in scoring alike. Test: 250 queries a language against 277
candidates, Success@1 and MRR@10, intervals over English sentences, three seeds; training-less removal of language means stands beside every
student (queries.parquet, `mean-removed-train`), and the untrained one with it is the reference to beat.

Expectation: raw matching collapses; under the teacher's mean no matching objective beats removing the language means from the untrained
student; under language means the matching objectives gain most, and transport is not told from greedy matching. Pooled and contrastive
losses, which weigh whole sentences, stay above both.
Decides: whether docs may say that transport beats its rivals anywhere, and which centre is advised for a student that starts as an encoder.
Cost: 40 trials of 40 to 60 CPU seconds.
"""

from pathlib import Path

from optical_ray.cli import run
from optical_ray.cli.sweep import load_sweep
from optical_ray.sweep import Choice, GridPart, Sweep

RATES = load_sweep(Path(__file__).with_name("weak_alignment_rates.py"))
SEEDS = (0, 1, 2)
CHOSEN = {
    "raw": {"OT": "1.25e-05", "greedy": "1.25e-05", "pooled MSE": "1.25e-05", "contrastive": "5e-05"},
    "centred": {"OT": "5e-05", "greedy": "5e-05", "pooled MSE": "5e-05", "contrastive": "5e-05"},
    "by language": {"OT": "5e-05", "greedy": "5e-05", "pooled MSE": "5e-05", "contrastive": "5e-05", "OT + contrastive": "5e-05"},
}
"""Part -> arm -> rate with the best `valid/Success@1`."""


def settle(part: GridPart) -> GridPart:
    """The part with one rate for each arm, and three seeds."""
    arms, rates = ({choice.name: choice for choice in part.axes[axis] if isinstance(choice, Choice)} for axis in ("arm", "rate"))
    chosen = tuple(Choice(name, {**arms[name].changes, **rates[rate].changes}) for name, rate in CHOSEN[part.name].items())
    return GridPart(part.name, {"arm": chosen, "seed": SEEDS}, part.changes)


SWEEP = Sweep(
    name="weak-alignment",
    question="Does transport teach a weakly aligned student more than simpler objectives do, and how much of it is centring?",
    expectation="Raw matching collapses; removal beats matching under one centre; under language means matching gains, OT as greedy.",
    base=RATES.base.override({"evaluation.test_queries": 250}),
    parts=(
        GridPart("control", changes={"training.max_steps": 0}),
        *(settle(part) for part in RATES.parts if isinstance(part, GridPart) and part.name in CHOSEN),
    ),
    resources=RATES.resources,
    concurrent_trials=2,
)

if __name__ == "__main__":
    run(SWEEP)
