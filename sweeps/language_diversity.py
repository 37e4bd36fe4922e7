"""How do the number and the diversity of the bitext languages change cross-lingual retrieval after distillation?

Language sets of 2, 4 or 8 languages, chosen three ways (as far from each other as family, script and place allow; as close to Swahili as
they allow; at random), at two budgets: each language brings the same text (so the set brings more), or the set as a whole does (so each
language brings less). Swahili is in every set, Yoruba and Marathi in none, so curves over k are about one seen language and two unseen
ones. Steps and batches are the same everywhere. One seed draws the random set, the initial weights and the order of the rows.

Expectation: at a fixed total, Swahili falls as k grows, whichever way the set was chosen; at a fixed text per language it falls less.
Languages in no set gain from k, and more from diverse sets than from similar ones; between strategies, seeds differ as much as sets do.
Decides: whether the report's figures over k are drawn for one strategy or for several, and which one the examples use.
Cost (an estimate from quickstart's, not measured): 58 trials of about 30 CPU seconds, 20 minutes on two cores.
"""

from optical_ray.cli import run
from optical_ray.recipe import Recipe, Resources
from optical_ray.sweep import Choice, GridPart, Sweep

POOL = ["sw", "hi", "fr", "my", "ha", "es", "ar", "bn", "gu", "km", "vi", "ka", "ht", "ny", "yo", "mr"]

BUDGETS = (
    Choice("per language", {"mixing.budget": "per_language", "mixing.pairs": 300}),
    Choice("total", {"mixing.budget": "total", "mixing.pairs": 300}),
)
SEEDS = tuple(Choice(f"seed {seed}", {"seed": seed, "languages.seed": seed}) for seed in (0, 1, 2))

SWEEP = Sweep(
    name="language-diversity",
    question="How do the number and the diversity of the bitext languages change cross-lingual retrieval after distillation?",
    expectation="Swahili falls with k at a fixed total, less per language; unseen languages gain from k, most from diverse sets.",
    base=Recipe().override(
        {
            "languages.pool": POOL,
            "languages.always": ["sw"],
            "languages.unseen": ["yo", "mr"],
            "mixing.pairs": 300,
            "objective.contrastive": 0.3,
            "training.max_steps": 300,
        }
    ),
    parts=(
        GridPart("control", changes={"training.max_steps": 0, "languages.size": 1}),
        GridPart("one language", {"seed": SEEDS}, {"languages.size": 1}),  # either budget, any strategy: Swahili
        GridPart(
            "sets",
            {
                "budget": BUDGETS,
                "languages.strategy": ("diverse", "similar:sw", "random"),
                "languages.size": (2, 4, 8),
                "seed": SEEDS,
            },
        ),
    ),
    resources=Resources(threads=1),
)

if __name__ == "__main__":
    run(SWEEP)
