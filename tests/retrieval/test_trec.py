"""What trec_eval's own code makes of the files that we write, to the last tie; and files that are none."""

import math
from dataclasses import replace

import ir_measures
import numpy as np
import pyarrow as pa
import pytest
from ir_measures import AP, RR, R, Success, nDCG
from retrieval.rankings import ListedDocuments, make_collection, random_search, rank_by_hand

from optical_ray.errors import DataError, NumericsError
from optical_ray.retrieval.judge import judge
from optical_ray.retrieval.trec import check_files, descending, read_run, write_qrels, write_run

MEASURES = {
    "Success@1": Success @ 1,
    "RR@10": RR @ 10,
    "RR@20": RR @ 20,
    "AP": AP,
    "AP@20": AP @ 20,
    "nDCG@10": nDCG @ 10,
    "R@100": R @ 100,
}


def written(tmp_path, collection, ranked):
    write_run(tmp_path / "run.trec", collection, ranked, "ours")
    write_qrels(tmp_path / "qrels.trec", collection)
    return tmp_path / "run.trec", tmp_path / "qrels.trec"


def theirs(run, qrels):
    values = ir_measures.iter_calc(
        list(MEASURES.values()), list(ir_measures.read_trec_qrels(str(qrels))), list(ir_measures.read_trec_run(str(run)))
    )
    return {(value.query_id, str(value.measure)): float(value.value) for value in values}


@pytest.mark.parametrize(("graded", "ties"), [(True, True), (False, True), (True, False)])
@pytest.mark.parametrize("seed", range(4))
def test_ir_measures_agree_on_every_query(tmp_path, seed, graded, ties):
    collection, scores = random_search(seed, documents=120, graded=graded, ties=ties)
    scores[3] = 0.0  # nothing but ties, around the number that has no neighbour of normal size
    scores[4, ::2] = np.nan
    ranked = rank_by_hand(collection, scores)
    rows = judge(collection, ranked, "student", "maxsim")
    run, qrels = written(tmp_path, collection, ranked)
    found = theirs(run, qrels)
    for row in rows.to_pylist():
        rank, query = row["rank"], row["query_id"]
        own = row | {"Success@1": float(rank == 1), "RR@10": 1 / rank if rank <= 10 else 0.0, "RR@20": 1 / rank if rank <= 20 else 0.0}
        for name in MEASURES:
            assert own[name] == pytest.approx(found[query, name], abs=1e-6), (query, name)
    assert check_files(run, qrels, rows) == 6 * len(collection.queries)


def test_more_than_20_relevant_documents_agree_too(tmp_path):
    names = [f"d{number:02d}" for number in range(60)]
    collection = make_collection({"q": dict.fromkeys(names[:31], 1)}, ListedDocuments(names))
    ranked = rank_by_hand(collection, np.random.default_rng(1).normal(size=(1, 60)).astype(np.float32))
    assert check_files(*written(tmp_path, collection, ranked), judge(collection, ranked, "s", "maxsim")) == 6


@pytest.mark.parametrize(("depth", "compared"), [(5, 0), (10, 1), (20, 2), (50, 2)])
def test_a_run_that_is_not_whole_is_compared_as_far_as_it_tells(tmp_path, depth, compared):
    collection, scores = random_search(7, documents=120)
    ranked = rank_by_hand(collection, scores, depth=depth)
    rows = judge(collection, ranked, "student", "maxsim")
    found = check_files(*written(tmp_path, collection, ranked), rows)
    within = sum(row["rank"] <= depth for row in rows.to_pylist())  # RR
    assert found == (1 + compared) * len(rows) + within  # Success@1 always, nDCG@10 from 10 on, AP@20 from 20 on


def test_re_ranked_candidates_agree(tmp_path):
    collection, scores = random_search(8)
    generator = np.random.default_rng(8)
    candidates = [sorted(generator.choice(70, size=12, replace=False).tolist()) for _ in collection.queries.ids]
    ranked = rank_by_hand(collection, scores, depth=12, candidates=candidates)
    rows = judge(collection, ranked, "student", "maxsim")
    assert None in rows["rank"].to_pylist()
    assert check_files(*written(tmp_path, collection, ranked), rows) == 6 * len(rows)


def test_a_wrong_number_is_found(tmp_path):
    collection, scores = random_search(9)
    ranked = rank_by_hand(collection, scores)
    rows = judge(collection, ranked, "student", "maxsim")
    wrong = rows.set_column(rows.column_names.index("nDCG@10"), "nDCG@10", pa.array([0.123] * len(rows), pa.float32()))
    with pytest.raises(NumericsError, match=r"run.trec: query q0: nDCG@10 is 0.123000 in our rows and 0\.\d+ by trec_eval's code"):
        check_files(*written(tmp_path, collection, ranked), wrong)


def test_scores_stay_as_they_are_unless_they_are_equal():
    scores = np.array([[3.5, 2.0, 2.0, 2.0, 1.25, 0.0, 0.0, -0.0, -1.0, -1.0, -np.inf, -np.inf, -np.inf]], np.float32)
    found = descending(scores)[0]
    assert found[[0, 1, 4, 5, 8]].tolist() == [3.5, 2.0, 1.25, 0.0, -1.0]
    assert (np.diff(found) < 0).all() and np.isfinite(found).all()
    assert np.abs(found[:10] - scores[0, :10]).max() < 1e-6
    assert found[2] == np.nextafter(np.float32(2), np.float32(0)) and found[9] == np.nextafter(np.float32(-1), np.float32(-2))
    again = np.array([float(f"{value:.9g}") for value in found], np.float32)
    assert (again == found).all()
    assert (np.abs(found[found != 0]) > 1e-30).all()  # no subnormal number, which some tools take for 0


def test_a_tie_that_pushes_the_next_score_down_keeps_the_order():
    below = np.nextafter(np.float32(1), np.float32(0))
    found = descending(np.array([[1.0, 1.0, 1.0, below, 0.5]], np.float32))[0]
    assert (np.diff(found) < 0).all() and found[-1] == 0.5


def test_random_rows_become_strictly_descending():
    generator = np.random.default_rng(0)
    scores = -np.sort(-np.round(generator.normal(size=(50, 300)) * 20, 0) / 20, axis=1).astype(np.float32)
    found = descending(scores)
    assert (np.diff(found, axis=1) < 0).all()
    assert np.abs(found - scores).max() < 1e-4


def test_the_lines_are_those_of_trec(tmp_path):
    collection = make_collection({"q1": {"b": 2, "a": 0, "c": -1}, "q2": {"c": 1, "nowhere": 1}}, ListedDocuments("abc"))
    run, qrels = written(tmp_path, collection, rank_by_hand(collection, np.array([[0.5, 0.25, 0.75], [1, 1, 1]]), depth=2))
    assert run.read_text().splitlines() == [
        "q1 Q0 c 1 0.75 ours",
        "q1 Q0 a 2 0.5 ours",
        "q2 Q0 a 1 1 ours",
        "q2 Q0 b 2 0.99999994 ours",
    ]
    assert qrels.read_text().splitlines() == ["q1 0 b 2", "q1 0 a 0", "q1 0 c 0", "q2 0 c 1"]


def test_a_run_is_read_in_the_order_in_which_trec_eval_reads_it(tmp_path):
    path = tmp_path / "run"
    path.write_text("q1 Q0 a 1 1.0 x\nq1 Q0 b 2 2.0 x\nq1\tQ0\tc 9 1.0 x\n\nq2 Q0 é 1 -3e2 x\n", encoding="utf-8")
    assert read_run(path) == {"q1": ("b", "c", "a"), "q2": ("é",)}


def test_what_is_written_is_read_in_our_order(tmp_path):
    collection, scores = random_search(11)
    ranked = rank_by_hand(collection, scores)
    run, _ = written(tmp_path, collection, ranked)
    found = read_run(run)
    for query, places in zip(collection.queries.ids, ranked.top_QK, strict=True):
        assert found[query] == tuple(collection.documents.ids[place] for place in places)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"q1 Q0 a 1 1.0\n", "line 1: 5 columns, expected 6"),
        (b"q1 Q0 a 1 1.0 x\nq1 Q0 b 2 much x\n", "line 2: the score 'much' is no number"),
        (b"q1 Q0 a 1 nan x\n", "line 1: the score is not a number"),
        (b"q1 Q0 a 1 1 x\nq1 Q0 a 2 0 x\n", "line 2: document a comes twice for query q1"),
        (b"\n\n", "no line"),
        (b"\xff\xfe\x00", "cannot be read as a TREC run"),
    ],
)
def test_a_file_that_is_no_run_is_one_clear_line(tmp_path, content, message):
    (tmp_path / "run").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_run(tmp_path / "run")
    with pytest.raises(DataError, match="cannot be read as a TREC run"):
        read_run(tmp_path / "nowhere")


@pytest.mark.parametrize("place", ["query", "document", "tag"])
def test_white_space_in_a_column_is_refused_and_nothing_is_written(tmp_path, place):
    query, document = ("q 1" if place == "query" else "q1"), ("d\u00a01" if place == "document" else "d1")
    collection = make_collection({query: {document: 1}}, ListedDocuments([document, "d2"]))
    ranked = rank_by_hand(collection, np.ones((1, 2)))
    with pytest.raises(DataError, match="holds white space"):
        write_run(tmp_path / "run", collection, ranked, "a tag" if place == "tag" else "tag")
    if place != "tag":
        with pytest.raises(DataError, match="holds white space"):
            write_qrels(tmp_path / "qrels", collection)
    assert list(tmp_path.iterdir()) == []


def test_a_search_that_looked_no_further_counts_what_it_missed_as_never_found(tmp_path):
    collection, scores = random_search(12)
    ranked = rank_by_hand(collection, scores, depth=20)
    cut = replace(ranked, rank_R=np.where(ranked.rank_R <= 20, ranked.rank_R, 0), exact=False)
    rows = judge(collection, cut, "student", "maxsim")
    run, qrels = written(tmp_path, collection, cut)
    found = theirs(run, qrels)
    for row in rows.to_pylist():
        assert row["AP"] == pytest.approx(found[row["query_id"], "AP"], abs=1e-6)
        assert row["R@100"] == pytest.approx(found[row["query_id"], "R@100"], abs=1e-6)
        assert math.isfinite(row["nDCG@10"])
