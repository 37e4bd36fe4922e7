"""Which part of the loss teaches a student to retrieve, and what do more bitext languages cost?

A small student from scratch learns from an English teacher (all-MiniLM-L6-v2) on the translation catalogs of free software, at equal text
per language and an equal number of steps. Foreign sentences look for their English translation among 300 candidates.

Expectation: optimal transport alone (OT) retrieves better than character n-grams and than the untrained student; adding a contrastive term
helps; at a fixed number of steps, every language gets worse as languages are added, because each is seen less often.
Decides: whether OT deserves its place in the default recipe, and whether the search moves epsilon, mixing or contrastive temperature.
Cost: 18 trials, about 10 minutes on two cores.
"""

from optical_ray.cli import run
from optical_ray.recipe import Recipe, Resources
from optical_ray.sweep import Choice, GridPart, LogUniform, Prediction, SearchPart, Sweep

# Nested: the set of size k is the first k. Swahili stands first, so curves over k are about Swahili; the next three are as far from it, and
# from each other, as family and script allow. Sixteen languages, six scripts and eight families, most of them low in resources.
LANGUAGES = ["sw", "hi", "fr", "my", "ha", "es", "ar", "yo", "mr", "bn", "gu", "km", "vi", "ka", "ht", "ny"]

OT = Choice("OT", {"objective.transport": 1.0, "objective.contrastive": 0.0})
BOTH = Choice("OT + contrastive", {"objective.transport": 1.0, "objective.contrastive": 0.3})
CONTRASTIVE = Choice("contrastive", {"objective.transport": 0.0, "objective.contrastive": 1.0})

SWEEP = Sweep(
    name="quickstart",
    question="Which part of the loss teaches a student to retrieve, and what do more bitext languages cost?",
    expectation="OT alone beats the lexical floor and the untrained student; the contrastive term adds to it; Swahili falls as k grows.",
    predictions=(
        Prediction("OT", "above", "lexical floor"),
        Prediction("OT", "above", "untrained student"),
        Prediction("OT + contrastive", "above", "OT"),
        Prediction("OT", "below", "fewer languages"),
        Prediction("OT + contrastive", "below", "fewer languages"),
        Prediction("contrastive", "below", "fewer languages"),
    ),
    base=Recipe().override({"languages.pool": LANGUAGES, "mixing.budget": "per_language"}),
    parts=(
        GridPart("control", changes={"training.max_steps": 0, "languages.size": 16}),
        GridPart("arms", axes={"arm": (OT, BOTH, CONTRASTIVE), "languages.size": (1, 4, 16)}),
        SearchPart(
            "search",
            space={
                "transport.epsilon": LogUniform(0.05, 2.0),
                "mixing.temperature": LogUniform(0.5, 8.0),
                "objective.temperature": LogUniform(0.01, 0.2),
            },
            changes={**BOTH.changes, "languages.size": 16},
            num_trials=8,
            startup_trials=4,
        ),
    ),
    resources=Resources(threads=1),
    concurrent_trials=2,
)

if __name__ == "__main__":
    run(SWEEP)
