"""The benchmark of search: everyone has a row, what is compared is the same, and workers find what one finds."""

import ast
import csv
import io
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks.retrieval.__main__ import main
from benchmarks.retrieval.clouds import Shape, write_clouds
from benchmarks.retrieval.rows import COLUMNS, Results, Row, show, summarise
from benchmarks.retrieval.sections import NO_GPU, PEERS, QUICK, maxsim_groups, measure
from benchmarks.retrieval.stream import DrawnSide, NumberedDocuments, is_same, merge, search_blocks
from benchmarks.tables import to_csv
from benchmarks.training.contender import INSTALL
from optical_ray.artifacts import Store
from optical_ray.retrieval.search.index import build_index
from optical_ray.retrieval.search.ranker import Ranker


def test_everyone_has_a_row_and_who_is_not_installed_says_so(tmp_path):
    group = maxsim_groups(replace(QUICK, blocks=2), 1, tmp_path)[0]
    group = replace(group, contenders=group.contenders[:2])
    (mine, other), said = measure(group, tmp_path / "nothing", tmp_path / "processes", 0.0, lambda what: None)
    assert mine.time_over_first == 1.0 and mine.difference == 0.0 and mine.memory_mb >= 0
    assert mine.per_second == pytest.approx(QUICK.queries * QUICK.shape.passages / mine.seconds)
    assert other.note == INSTALL and other.seconds is None
    assert [len(each["blocks"]) for each in said] == [2, 0]
    assert INSTALL in show([mine, other])
    read = list(csv.DictReader(io.StringIO(to_csv([mine, other], COLUMNS))))
    assert tuple(read[0]) == COLUMNS and read[1]["seconds"] == ""


def test_clouds_are_unit_vectors_of_the_lengths_that_were_asked_for(tmp_path):
    write_clouds(Shape(5, 7, 8, 16, 4, ragged=True), tmp_path)
    with np.load(tmp_path / "lengths.npz") as lengths:
        for name, count, longest in (("queries", 5, 8), ("passages", 7, 16)):
            vectors, own = np.load(tmp_path / f"{name}.npy"), lengths[name]
            assert len(own) == count and own.min() >= longest // 4 and own.max() <= longest and own.sum() == len(vectors)
            np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_ratios_are_taken_block_by_block():
    row = Row("maxsim", "x", "theirs", "", 1)
    ours = [{"seconds": each, "pairs": 8} for each in (2.0, 4.0, 10.0)]
    theirs = [{"seconds": each, "pairs": 8, "over_inputs_mb": each} for each in (4.0, 4.0, 30.0)]
    found = summarise(row, theirs, ours, {"versions": "them 1"}, None)
    assert found.time_over_first == 2.0 and found.memory_mb == 30.0 and found.note == "them 1" and found.per_second == 2.0
    assert summarise(row, theirs[:1], ours, {}, "fails: it died").seconds is None


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_find_what_a_plain_product_finds(workers, tmp_path, capsys):
    """In this process, one worker after the other."""
    count, dimension, threads = 9000, 16, torch.get_num_threads()
    index = build_index(Store(tmp_path), DrawnSide(dimension), NumberedDocuments(count), "pooled")
    job = {"index": str(index.folder), "count": count, "queries": 5, "dimension": dimension, "workers": workers, "threads": threads}
    for rank in range(workers):
        search_blocks(job | {"folder": str(tmp_path)}, rank)
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(told) == workers and all(each["peak_mb"] > 0 for each in told)
    found = merge(tmp_path, workers)
    vectors = np.concatenate([np.fromfile(path, np.float16).reshape(-1, dimension) for path in sorted(index.folder.glob("*.vectors"))])
    queries = np.random.default_rng(0).standard_normal((5, dimension), np.float32)
    scores = queries @ vectors.T.astype(np.float32) / np.linalg.norm(queries, axis=1, keepdims=True)
    assert np.array_equal(found.top_QK[:, 0], scores.argmax(1))
    assert found.scores_QK[:, 0] == pytest.approx(scores.max(1), abs=1e-3)


def test_rankings_that_differ_are_told_apart():
    def ranked(best):
        ranker = Ranker([np.array([1])], 2, 3)
        ranker.add(0, np.array([[0.1, best, 0.2]], np.float32))
        return ranker.finish()

    assert is_same(ranked(0.5), ranked(0.5)) and not is_same(ranked(0.5), ranked(0.15))


def test_sections_are_measured_one_at_a_time_and_kept_together(tmp_path, capsys):
    def read():
        return [
            (row["section"], row["note"]) for row in csv.DictReader(io.StringIO((tmp_path / "retrieval.csv").read_text(encoding="utf-8")))
        ]

    results = Results.read(tmp_path)
    results.put("maxsim", [Row("maxsim", "x", "ours", "", 1, note="before"), Row("maxsim", "x", "theirs", "", 1, note="before")], {"n": 1})
    results.write(tmp_path)
    main(["--quick", "--sections", "gpu", "--out", str(tmp_path)])
    assert [section for section, _ in read()] == ["maxsim", "maxsim", "gpu"]
    results = Results.read(tmp_path)
    results.put("maxsim", [Row("maxsim", "x", "ours", "", 1, note="after")], {"n": 2})
    results.write(tmp_path)
    assert read()[0] == ("maxsim", "after") and [section for section, _ in read()] == ["maxsim", "gpu"]
    about = json.loads((tmp_path / "retrieval.json").read_text(encoding="utf-8"))
    assert about["maxsim"] == {"n": 2} and about["gpu"]["settings"]["quick"]
    assert str(tmp_path) not in (tmp_path / "retrieval.json").read_text(encoding="utf-8")
    assert torch.cuda.is_available() or NO_GPU in capsys.readouterr().out


@pytest.mark.parametrize("path", sorted(PEERS.glob("*.py")), ids=lambda path: path.name)
def test_the_others_scripts_import_nothing_of_this_project(path):
    imports = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Import | ast.ImportFrom)]
    found = {alias.name for node in imports for alias in node.names} | {getattr(node, "module", None) or "" for node in imports}
    assert not {name for name in found if name.split(".")[0] in ("optical_ray", "benchmarks")}
