"""Which entropy of the plan, which mixing temperature and which objective temperature teach best together?

The three knobs that the field calls entropy or temperature, searched together on sixteen languages under OT + contrastive, by TPE, with
successive halving (ASHA) that stops two of three trials at steps 100 and 300 by their validation score. Test rows are scored for trials
that reach their last step only. The search sees validation rows alone.

Expectation: the objective temperature matters most (best near 0.05), then epsilon (flat between 0.1 and 0.5 standard deviations, worse
above 1, where the plan is nearly uniform); tau hardly matters, for the catalogs' languages are of like size. Halving finds a point within
the interval of the best at under half the steps.
Decides: the defaults of `transport.epsilon`, `mixing.temperature` and `objective.temperature`, and whether ASHA is what this sweep ships.
Cost: 30 trials, a third of which ran all 600 steps; 20 minutes on two cores beside other work (docs/LABLOG.md, with the verdict).
"""

from optical_ray.cli import run
from optical_ray.recipe import Recipe, Resources
from optical_ray.sweep import Asha, LogUniform, SearchPart, StopRules, Sweep

LANGUAGES = ["sw", "hi", "fr", "my", "ha", "es", "ar", "yo", "mr", "bn", "gu", "km", "vi", "ka", "ht", "ny"]

SWEEP = Sweep(
    name="entropy-temperature",
    question="Which entropy of the plan, which mixing temperature and which objective temperature teach best together?",
    expectation="The objective temperature matters most, then epsilon; tau hardly. Halving costs no quality and saves half the steps.",
    base=Recipe().override(
        {
            "languages.pool": LANGUAGES,
            "languages.size": 16,
            "mixing.budget": "per_language",
            "objective.transport": 1.0,
            "objective.contrastive": 0.3,
            "training.validate_every": 100,
        }
    ),
    parts=(
        SearchPart(
            "search",
            space={
                "transport.epsilon": LogUniform(0.05, 2.0),
                "mixing.temperature": LogUniform(0.5, 8.0),
                "objective.temperature": LogUniform(0.01, 0.2),
            },
            num_trials=30,
            startup_trials=8,
            scheduler=Asha(grace_steps=100, reduction=3),
        ),
    ),
    resources=Resources(threads=1),
    stop=StopRules(max_failed=5),
)

if __name__ == "__main__":
    run(SWEEP)
