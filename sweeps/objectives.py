"""At an equal budget, which training objective teaches a student to retrieve across languages?

Every matching objective of the package, alone, and OT beside the contrastive term, on the same batches of the same four languages, with the
same centre and scale of the cost, the same steps, the same three tries of the learning rates (all three together: halved, as they are,
doubled) and the same two seeds. The untrained student, the lexical floor and the removal of language means stand beside them.

Expectation: OT + contrastive is best, the contrastive objective alone close to it; OT, greedy matching and pooled MSE are not told from
each other; row-argmax is worst of all and may collapse. No objective's order changes with its own best rate.
Decides: nothing by itself: the arm is chosen on validation rows, and its claim needs the three seeds and the encoder of
sweeps/weak_alignment.py. It says which arms are worth that.
Cost (an estimate from quickstart's, not measured): 43 trials of 20 to 60 CPU seconds, 15 minutes on two cores.
"""

from optical_ray.cli import run
from optical_ray.recipe import Recipe, Resources
from optical_ray.sweep import Choice, GridPart, Prediction, Sweep

LANGUAGES = ["sw", "hi", "fr", "my"]
NONE = {"objective.transport": 0.0}

ARMS = (
    Choice("OT", {"objective.transport": 1.0}),
    Choice("greedy", {**NONE, "objective.greedy": 1.0}),
    Choice("argmax", {**NONE, "objective.argmax": 1.0}),
    Choice("pooled MSE", {**NONE, "objective.pooled_mse": 1.0}),
    Choice("contrastive", {**NONE, "objective.contrastive": 1.0}),
    Choice("score KL", {**NONE, "objective.score_kl": 1.0}),
    Choice("OT + contrastive", {"objective.transport": 1.0, "objective.contrastive": 0.3}),
)
RATES = tuple(
    Choice(
        f"{factor:g}x",
        {
            "training.learning_rate": 2e-3 * factor,
            "training.embedding_learning_rate": 1e-2 * factor,
            "training.projection_learning_rate": 1e-3 * factor,
        },
    )
    for factor in (0.5, 1.0, 2.0)
)

SWEEP = Sweep(
    name="objectives",
    question="At an equal budget, which training objective teaches a student to retrieve across languages?",
    expectation="OT + contrastive first, contrastive close; OT, greedy and pooled MSE alike; row-argmax last.",
    predictions=(
        Prediction("OT + contrastive", "above", "contrastive"),
        Prediction("OT", "alike", "greedy"),
        Prediction("OT", "alike", "pooled MSE"),
        Prediction("argmax", "below", "OT"),
    ),
    base=Recipe().override({"languages.pool": LANGUAGES, "mixing.budget": "per_language", "training.max_steps": 300}),
    parts=(
        GridPart("control", changes={"training.max_steps": 0}),
        GridPart("arms", {"arm": ARMS, "rate": RATES, "seed": (0, 1)}),
    ),
    resources=Resources(threads=1),
)

if __name__ == "__main__":
    run(SWEEP)
