"""Does the number of languages in pre-training change retrieval after distillation?

An encoder from scratch reads the foreign side of translation catalogs by masked-LM, on k = 1, 4 or 16 languages, and is then distilled on
200 pairs in each of the same four low-resource languages; the control skips the reading. Two budgets: each pre-training language brings the
same text (so the set brings more), or the set as a whole does (so each brings less). Swahili is in every pre-training set, Yoruba in none;
Hausa and Khmer join at k = 16. Tokenizer, steps, batch and distillation are the same everywhere, and embeddings get the mean and spread
back that they began with (docs/decisions/017), so that only what was read differs.

Expectation: nothing that the seeds do not show too. The catalogs hold some 6,000 tokens a language; at this scale the masked-LM does not
get below the unigram entropy of a language by much, if at all (pretraining.json says so for every one), and earlier trials of such a size
showed no effect of k under the contrastive arm. Where there is an effect, Swahili should gain most and Yoruba least.
Decides: nothing here. It is the question of the project in small; a verdict wants a million tokens a language, and the same file on such a
corpus (pretraining.corpus, pretraining.languages.pool, pretraining.mixing.tokens and pretraining.training.max_steps of the base).
Found (docs/LABLOG.md): harm that grows with the steps of the kept checkpoint, and no gain for any language.
Cost: 36 trials on 15 pre-trainings, each of which is trained once, two at a time; some 75 minutes on two cores.
"""

from optical_ray.cli import run
from optical_ray.recipe import Recipe, Resources
from optical_ray.sweep import Choice, GridPart, Sweep

# Nested: the set of size k is the first k. The first four are of four families and scripts.
PRETRAINING = ["sw", "hi", "fr", "my", "ar", "ka", "vi", "ha", "bn", "km", "es", "ht", "mr", "te", "ny", "gu"]
DISTILLATION = ["sw", "ha", "km", "yo"]

OT = Choice("OT", {"objective.transport": 1.0, "objective.contrastive": 0.0})
CONTRASTIVE = Choice("contrastive", {"objective.transport": 0.0, "objective.contrastive": 1.0})
# One seed for both stages: the spread over it is that of the whole procedure. It varies fastest, so that trials which run side by side want
# different pre-trainings, and the second arm finds those of the first.
SEEDS = tuple(Choice(f"seed {seed}", {"seed": seed, "pretraining.seed": seed}) for seed in (0, 1, 2))

SWEEP = Sweep(
    name="pretraining-languages",
    question="Does the number of languages in pre-training change retrieval after distillation?",
    expectation="No effect of k beyond that of the seeds, at some 6,000 tokens a language; if any, Swahili gains most and Yoruba least.",
    base=Recipe().override(
        {
            "languages.pool": DISTILLATION,
            "mixing.pairs": 200,
            "training.max_steps": 300,
            "student.projection_fit": "new",  # control and pre-trained start at the teacher's mean and spread alike (docs/decisions/019)
            "pretraining.languages.pool": PRETRAINING,
            "pretraining.languages.always": ["sw"],
            "pretraining.languages.unseen": ["yo"],
            "pretraining.mixing.tokens": 6000,
            "pretraining.training.max_steps": 2000,
            "pretraining.training.validate_every": 250,
            "pretraining.training.evaluate_checkpoint": "best",  # 6,000 tokens are soon known by heart
        }
    ),
    parts=(
        GridPart("control", {"arm": (OT, CONTRASTIVE), "seed": SEEDS}, {"pretraining.training.max_steps": 0}),
        GridPart("one language", {"arm": (OT, CONTRASTIVE), "seed": SEEDS}, {"pretraining.languages.size": 1}),  # either budget
        GridPart(
            "languages",
            {
                "arm": (OT, CONTRASTIVE),
                "pretraining.mixing.budget": ("per_language", "total"),
                "pretraining.languages.size": (4, 16),
                "seed": SEEDS,
            },
        ),
    ),
    resources=Resources(threads=1),
    concurrent_trials=2,
)

if __name__ == "__main__":
    run(SWEEP)
