"""The negative control on a real encoder: raw transport at a plain epsilon makes all its tokens alike, while its loss falls.

    OPTICAL_E5=FOLDER OPTICAL_BITEXT=FOLDER make test-slow

OPTICAL_E5 is a Hugging Face folder of an anisotropic multilingual encoder (multilingual-e5-small), of which the first four layers teach and
learn; OPTICAL_BITEXT one with `lang=CODE/*.parquet` (columns english and text, 200 pairs or more in each of some languages), as short as
questions.
"""

import json
import os
from pathlib import Path

import pytest

from optical_ray.artifacts import Store
from optical_ray.encoders.pretrained import load_pretrained
from optical_ray.recipe import Recipe, Resources
from optical_ray.runs import names
from optical_ray.runs.folder import RunFolder
from optical_ray.trial import run_trial

ENCODER, BITEXT = os.environ.get("OPTICAL_E5"), os.environ.get("OPTICAL_BITEXT")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),  # of one arm: some 130 seconds of CPU, and up to 8 minutes on two cores that others use too
    pytest.mark.skipif(not (ENCODER and BITEXT), reason="OPTICAL_E5 and OPTICAL_BITEXT name no encoder and no bitext (CONTRIBUTING.md)"),
]
LAYERS, LANGUAGES, STEPS = 4, 4, 60
SHOWN = (names.WITHIN_SENTENCE_COSINE, names.COMMON_SHARE, names.TRANSPORT_ENTROPY, names.LOSS, names.VALID_SUCCESS_AT_1)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    """Teacher and student are the same layers; every rate is one that suits an encoder that knows its words."""
    model, tokenizer = load_pretrained(ENCODER)
    model.encoder.layer = model.encoder.layer[:LAYERS]
    model.config.num_hidden_layers = LAYERS
    folder = tmp_path_factory.mktemp("encoder")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    codes = sorted(path.name.partition("=")[2] for path in Path(BITEXT).glob("lang=*"))[:LANGUAGES]
    assert codes, f"{BITEXT}: no folder lang=CODE in it"
    fields = {
        "corpus.sources": [f"{BITEXT}/lang={code}" for code in codes],
        "teacher.path": str(folder),
        "teacher.max_tokens": 32,
        "student.init": str(folder),
        "student.max_tokens": 32,
        "batch.pairs": 32,
        "batch.length_window": 4,
        "transport.epsilon": 0.05,
        "training.max_steps": STEPS,
        "training.learning_rate": 1e-4,
        "training.embedding_learning_rate": 1e-4,
        "training.projection_learning_rate": 1e-4,
        "training.report_every": 10,
        "training.validate_every": 20,
        "training.checkpoint_every": STEPS,
        "evaluation.valid_queries": 40,
        "evaluation.test_queries": 20,
        "evaluation.candidates": 80,
    }
    return Recipe().override(fields)


@pytest.mark.parametrize(
    ("centre", "scale", "expected"), [("none", "none", [names.COLLAPSED]), ("teacher-mean", "teacher-std", [])], ids=["raw", "centred"]
)
def test_what_collapses_is_called_so_and_what_is_centred_is_not(recipe, tmp_path_factory, centre, scale, expected):
    recipe = recipe.override({"cost.centre": centre, "cost.scale": scale})
    root = tmp_path_factory.getbasetemp()
    run = RunFolder(root / "run")
    status = run_trial(recipe, Resources(), Store(root / "store"), run)
    curves = {}
    for row in run.trial(recipe.trial_id).read_metrics():
        curves.setdefault(row.name, {})[row.step] = row.value
    print(json.dumps({name: {step: round(value, 3) for step, value in curves[name].items()} for name in SHOWN}))
    assert curves[names.LOSS][STEPS] < 0.9 * curves[names.LOSS][10], "the loss falls either way"
    assert status.verdicts == expected
