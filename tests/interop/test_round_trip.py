"""Sentence-Transformers and PyLate load a student's folder and find what we find. `make test-interop` makes their environments."""

import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
import pytest
import torch
from encoders.folders import save_pylate, save_tokenizer
from transformers import AutoTokenizer, XLMRobertaConfig, XLMRobertaModel

from optical_ray.encoders.config import StudentConfig
from optical_ray.encoders.interaction import score
from optical_ray.encoders.pretrained import load_tokenizer
from optical_ray.encoders.student import build_student
from optical_ray.encoders.student_folder import load_student, read_description, save_student
from optical_ray.encoders.tokenizer import tokenize
from optical_ray.retrieval.encoding import encode_texts

HERE = Path(__file__).parent
CACHE = os.environ.get("OPTICAL_INTEROP")
"""Folder for the environments; without it only what is installed here is tested."""
SUBJECTS, OBJECTS = ("the teacher reads", "the old doctor reads", "the teacher sells", "her brother sells"), ("a", "it!", "her", "[", "x")
QUERIES = [f"{subject} {thing}" for subject in SUBJECTS for thing in OBJECTS]
DOCUMENTS = [f"{text}, {' '.join(text.split()[::-1])} again." for text in QUERIES]
SMALL = {"hidden_size": 32, "num_heads": 2, "num_layers": 2, "max_tokens": 24, "embedding_std": 1.0, "position_std": 0.5}


def scratch(world, folder):
    return AutoTokenizer.from_pretrained(world.teacher), StudentConfig(**SMALL, document_max_tokens=12)


def marked(world, folder):
    save_pylate(world, folder)
    return load_tokenizer(str(folder)), StudentConfig(init=str(folder), max_tokens=24, prefix="[Q] ", document_prefix="[D] ")


def prefixed(world, folder):
    return AutoTokenizer.from_pretrained(world.teacher), StudentConfig(**SMALL, prefix="the query: ", document_prefix="a story: ")


def roberta(world, folder):
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32, "vocab_size": 220}
    XLMRobertaModel(XLMRobertaConfig(**sizes, max_position_embeddings=66)).save_pretrained(folder)
    return save_tokenizer(world, folder), StudentConfig(init=str(folder), max_tokens=24, projection_bias=False)


STUDENTS = (scratch, marked, prefixed, roberta)


@pytest.fixture(params=STUDENTS, ids=lambda make: make.__name__)
def folder(request, world, tmp_path):
    """A student's folder; its weights are large enough for texts to differ."""
    tokenizer, config = request.param(world, tmp_path / "init")
    student = build_student(
        config, tokenizer, torch.randn(8, generator=torch.Generator().manual_seed(1)), 4.0, torch.Generator().manual_seed(0)
    )
    save_student(student, tokenizer, config, tmp_path / "student")
    return tmp_path / "student"


def ours(folder):
    description, student, tokenizer = read_description(folder), load_student(folder), load_tokenizer(str(folder))
    sides = [(QUERIES, description.query), (DOCUMENTS, description.document)]
    clouds = [encode_texts(student, tokenize(tokenizer, texts, form.max_tokens, form.prefix)).centred(None) for texts, form in sides]
    vectors = [cloud.vectors_TD.split(cloud.lengths.tolist()) for cloud in clouds]
    return vectors, score(*clouds, ["maxsim"])["maxsim"] * clouds[0].lengths[:, None]  # theirs is the sum, ours the mean


def run_there(python, script, folder):
    job, out = folder.parent / "job.json", folder.parent / "out.npz"
    job.write_text(json.dumps({"model": str(folder), "queries": QUERIES, "documents": DOCUMENTS}))
    done = subprocess.run([python, HERE / script, job, out], capture_output=True, text=True, env=os.environ | {"HF_HUB_OFFLINE": "1"})
    assert done.returncode == 0, done.stderr[-2000:]
    with np.load(out) as found:
        return dict(found)


def compare(folder, found, name):
    """Token vectors to 1e-4 and the same order of documents; prefix tokens, which they keep, stand in front of ours."""
    (queries, documents), scores_QC = ours(folder)
    description = read_description(folder)
    largest = 0.0
    for side, mine, form in (("query", queries, description.query), ("document", documents, description.document)):
        for index, vectors in enumerate(mine):
            theirs = found[f"{side}_{index}"]
            if ":" not in form.prefix:
                assert len(theirs) == len(vectors)
            largest = max(largest, float(np.abs(theirs[len(theirs) - len(vectors) :] - vectors.numpy()).max()))
    assert largest <= 1e-4
    best = scores_QC.argmax(1).numpy()
    changed = {key: float(np.mean(found[key].argmax(1) != best)) for key in ("scores_as_is", "scores_padded") if key in found}
    print(f"{', '.join(found['versions'])}; {name}: largest difference {largest:.1e}; share of first hits that change: {changed}")
    if ":" not in description.query.prefix:
        np.testing.assert_allclose(found["scores"], scores_QC.numpy(), atol=1e-3)
        order = np.argsort(-np.round(scores_QC.numpy(), 3), 1, kind="stable")
        assert np.array_equal(order, np.argsort(-np.round(found["scores"], 3), 1, kind="stable"))


def make_environment(name):
    """A virtual environment with the pins of its requirements files; made once for each version of them."""
    files = [HERE / f"requirements-{name}.txt", HERE / f"requirements-{name}-alone.txt"]
    place, pins = Path(CACHE).absolute() / name, "".join(file.read_text() for file in files if file.is_file())
    python, ready = place / "bin" / "python", place / "ready"
    if not ready.is_file() or ready.read_text() != pins:
        venv.create(place, with_pip=True, clear=True)
        for file, options in zip(files, ([], ["--no-deps"]), strict=True):
            if file.is_file():
                subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *options, "-r", file], check=True)
        ready.write_text(pins)
    return python


def test_sentence_transformers_finds_what_we_find_where_it_is_installed(folder, request):
    pytest.importorskip("sentence_transformers.multi_vector_encoder", reason="needs sentence-transformers 6")
    compare(folder, run_there(sys.executable, "encode_sentence_transformers.py", folder), request.node.name)


@pytest.mark.skipif(CACHE is None, reason="make test-interop makes the environments")
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", ["sentence-transformers", "pylate"])
def test_it_finds_what_we_find_in_its_own_environment(name, folder, request):
    compare(folder, run_there(make_environment(name), f"encode_{name.replace('-', '_')}.py", folder), request.node.name)
