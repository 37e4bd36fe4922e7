"""BEIR folders, and all kinds of bad input shown on one."""

import pytest
from retrieval.formats.released import all_texts, check_contract, write_jsonl, write_text

from optical_ray.errors import DataError
from optical_ray.retrieval.formats.options import FormatOptions
from optical_ray.retrieval.formats.read import read_collections


@pytest.fixture
def beir(tmp_path):
    folder = tmp_path / "scifact"
    write_jsonl(
        folder / "corpus.jsonl",
        {"_id": "d1", "title": "Cells", "text": "They divide.", "metadata": {}},
        {"_id": "d2", "title": "", "text": "ไม่มีชื่อ"},
        {"_id": 3, "text": "Other."},
    )
    write_jsonl(
        folder / "queries.jsonl", {"_id": "q1", "text": "cells?", "metadata": {}}, {"_id": "q2", "text": "ชื่อ"}, {"_id": "q3", "text": "x"}
    )
    write_text(folder / "qrels" / "test.tsv", "query-id\tcorpus-id\tscore", "q1\td1\t1", "q1\t3\t2", "q2\td2\t1")
    write_text(folder / "qrels" / "dev.tsv", "query-id\tcorpus-id\tscore", "q3\td2\t1")
    return folder


def test_beir_joins_titles_and_asks_the_queries_of_a_split(beir):
    [test] = read_collections("beir", beir)
    check_contract(test)
    assert test.queries.ids == ("q1", "q2") and test.qrels == {"q1": {"d1": 1, "3": 2}, "q2": {"d2": 1}}
    assert all_texts(test.documents) == {"d1": ("en", "Cells They divide."), "d2": ("en", "ไม่มีชื่อ"), "3": ("en", "Other.")}
    assert test.skipped == {"query without judgements": 1}
    [valid] = read_collections("beir", beir, FormatOptions(split="valid", query_language="th", passage_words=1))
    assert valid.queries.ids == ("q3",) and valid.queries.languages == ("th",) and valid.split == "valid"
    [block] = valid.documents.blocks()
    assert block.owner.tolist() == [0, 0, 0, 1, 2] and block.passages[3] == "ไม่มีชื่อ"


BAD = {
    "unknown document": ("qrels/test.tsv", "q1\td9\t1", "judges document 'd9' for query 'q1'", "judgement of an unknown document"),
    "unknown query": ("qrels/test.tsv", "q9\td1\t1", r"test.tsv, line 5: judges query 'q9'", "judgement of an unknown query"),
    "contradiction": (
        "qrels/test.tsv",
        "q1\td1\t0",
        r"line 5: grades document 'd1' for query 'q1' 0, 1 before",
        "judgement that contradicts",
    ),
    "columns": ("qrels/test.tsv", "q1 d1", "line 5: found 'q1 d1', expected query", "row that cannot be read"),
    "no number": ("qrels/test.tsv", "q1\td1\tyes", "line 5: found", "row that cannot be read"),
    "document again": ("corpus.jsonl", '{"_id": "d1", "text": "x"}', r"corpus.jsonl, line 4: document id 'd1' again", "document of an id"),
    "empty document": ("corpus.jsonl", '{"_id": "d4", "text": " "}', r"line 4: document 'd4' has no text", "empty document"),
    "query again": ("queries.jsonl", '{"_id": "q1", "text": "x"}', r"queries.jsonl, line 4: query id 'q1' again", "query of an id"),
    "empty query": ("queries.jsonl", '{"_id": "q4", "text": ""}', r"line 4: query 'q4' has no text", "empty query"),
    "cut": ("corpus.jsonl", '{"_id": "d4", "te', r"line 4: not JSON", "row that cannot be read"),
    "no object": ("queries.jsonl", "[1]", r"line 4: a list, expected an object", "row that cannot be read"),
    "no id": ("corpus.jsonl", '{"text": "x"}', r"line 4: no _id or doc_id or docid or id \(it has text\)", "row that cannot be read"),
    "NUL": ("queries.jsonl", '{"_id": "q4", "text": "a\\u0000"}', "line 4: holds a NUL byte", "text with a NUL byte"),
    "half a surrogate": ("corpus.jsonl", '{"_id": "d4", "text": "\\ud800"}', "line 4: holds half a surrogate pair", "text with a NUL byte"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_in_one_line_or_counted_alone(beir, case):
    name, line, message, reason = BAD[case]
    with (beir / name).open("a") as file:
        file.write(line + "\n")
    with pytest.raises(DataError, match=message) as told:
        read_collections("beir", beir)
    assert "\n" not in str(told.value) and "on_bad=skip" in str(told.value)
    [kept] = read_collections("beir", beir, FormatOptions(on_bad="skip"))
    check_contract(kept)
    assert kept.queries.ids == ("q1", "q2") and len(kept.documents) == 3
    [counted] = [count for why, count in kept.skipped.items() if why.startswith(reason)]
    assert counted == 1 and sum(kept.skipped.values()) == 2  # and the query of the other split


def test_labels_that_are_withheld_are_told(beir):
    write_text(beir / "qrels" / "test.tsv", "query-id\tcorpus-id\tscore")
    with pytest.raises(DataError, match=r"no query has a relevant document \(3 queries, 0 judged\); labels may be withheld"):
        read_collections("beir", beir)
    write_text(beir / "qrels" / "test.tsv", "q1\td7\t1")
    with pytest.raises(DataError, match="none of the documents that it judges relevant is among the documents"):
        read_collections("beir", beir, FormatOptions(on_bad="skip"))
    (beir / "qrels" / "test.tsv").unlink()
    with pytest.raises(DataError, match=r"qrels/test.tsv: no such file; beir reads corpus.jsonl"):
        read_collections("beir", beir)


def test_queries_of_which_nothing_is_relevant_are_left_out_and_counted(beir):
    write_text(beir / "qrels" / "test.tsv", "q1\td1\t1", "q2\td2\t0")
    [found] = read_collections("beir", beir)
    assert found.queries.ids == ("q1",)
    assert found.skipped == {"query without a relevant document": 1, "query without judgements": 1}
