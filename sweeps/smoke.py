"""Does a sweep run from its bitext to its report here?

Two trials, OT and contrastive, on two languages for sixty steps. Tests run this file on bitext and a teacher of their own
(`optical sweep sweeps/smoke.py corpus.sources=... teacher.path=...`).

Expectation: both finish, with a table, figures and a page; sixty steps teach little, so nothing is said of quality.
Decides: whether this machine, or this cluster, is ready for a longer sweep.
Cost (an estimate, not measured): a minute on two cores, once the corpus is in the store.
"""

from optical_ray.cli import run
from optical_ray.recipe import Recipe, Resources
from optical_ray.sweep import Choice, GridPart, Sweep

OT = Choice("OT", {"objective.transport": 1.0, "objective.contrastive": 0.0})
CONTRASTIVE = Choice("contrastive", {"objective.transport": 0.0, "objective.contrastive": 1.0})

SWEEP = Sweep(
    name="smoke",
    question="Does a sweep run from its bitext to its report here?",
    expectation="Both trials finish; sixty steps teach little.",
    base=Recipe().override(
        {
            "languages.pool": ["sw", "ha"],
            "training.max_steps": 60,
            "training.report_every": 20,
            "training.validate_every": 30,
            "training.checkpoint_every": 30,
            "evaluation.valid_queries": 50,
            "evaluation.test_queries": 50,
            "evaluation.candidates": 100,
        }
    ),
    parts=(GridPart("arms", {"arm": (OT, CONTRASTIVE)}),),
    resources=Resources(threads=1),
)

if __name__ == "__main__":
    run(SWEEP)
