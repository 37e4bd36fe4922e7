"""Every format, and every way in which one can be wrong: one line with file and place, or counted."""

import gzip
import json
import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from optical_ray.artifacts import Store
from optical_ray.data.relevance.build import build_relevance
from optical_ray.data.relevance.config import RelevanceConfig
from optical_ray.data.relevance.rows import RowError, parse_row
from optical_ray.errors import ConfigError, DataError

DOCUMENTS = {"d1": "bread is baked", "d2": "cows give milk", "d3": "rain is wet", "d4": ""}
QUERIES = {"q1": "who bakes bread", "q2": "what do cows give", "q3": "is rain wet", "q4": "asked by nobody"}


def lines(path, rows, end="\n"):
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(row + end for row in rows)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text, encoding="utf-8")
    return path


def json_lines(path, rows):
    return lines(path, [json.dumps(row) for row in rows])


def build(tmp_path, *sources, terms=("contrastive",), held_out=True, without=None, **config):
    """All queries held out, so that a test sees them in one place."""
    return build_relevance(
        Store(tmp_path / "store"), [str(source) for source in sources], RelevanceConfig(**config), terms, held_out, without
    )


def contents(data):
    """{query: (texts of positives, of negatives, scores)}"""
    rows = data.valid.take(range(len(data.valid)))
    return {
        row["query"]: (
            data.documents.texts(row["positives"]),
            data.documents.texts(row["negatives"]),
            [None if score != score else score for score in row["scores"]],
        )
        for row in rows
    }


EXPECTED = {"who bakes bread": ("bread is baked", "cows give milk"), "what do cows give": ("cows give milk", "rain is wet")}


def jsonl(folder):
    rows = [{"query": query, "positive": positive, "negatives": [negative]} for query, (positive, negative) in EXPECTED.items()]
    return json_lines(folder / "train.jsonl", rows)


def sentence_transformers(folder):
    rows = [{"anchor": query, "positive": positive, "negative_1": negative} for query, (positive, negative) in EXPECTED.items()]
    return json_lines(folder / "train.jsonl.gz", rows)


def flag_embedding(folder):
    return json_lines(folder / "t.jsonl", [{"query": query, "pos": [one], "neg": [other]} for query, (one, other) in EXPECTED.items()])


def tevatron(folder):
    rows = []
    for query, (one, other) in EXPECTED.items():
        title, _, text = one.partition(" ")
        rows.append({"query": query, "positive_passages": [{"title": title, "text": text}], "negative_passages": [{"text": other}]})
    return json_lines(folder / "t.jsonl", rows)


def triples(folder):
    return lines(folder / "triples.tsv", [f"{query}\t{one}\t{other}" for query, (one, other) in EXPECTED.items()], "\r\n")


def parquet_rows(folder):
    folder.mkdir(exist_ok=True)
    rows = [{"query": query, "positive": one, "negative": [other]} for query, (one, other) in EXPECTED.items()]
    pq.write_table(pa.Table.from_pylist(rows), folder / "rows.parquet")
    return folder / "rows.parquet"


def msmarco(folder):
    lines(folder / "collections" / "english_collection.tsv.gz", [f"{name}\t{text}" for name, text in DOCUMENTS.items()])
    lines(folder / "queries.train.tsv", [f"{name}\t{text}" for name, text in QUERIES.items()])
    lines(folder / "queries.dev.tsv", ["q9\tsomething else"])
    lines(folder / "triples.train.ids.small.tsv", ["q1\td1\td2", "q2\td2\td3"])
    return folder


def msmarco_qrels(folder):
    msmarco(folder)
    (folder / "triples.train.ids.small.tsv").unlink()
    lines(folder / "qrels.train.tsv", ["q1\t0\td1\t1", "q1 0 d2 0", "q2\t0\td2\t1", "q2\t0\td3\t0"])
    return folder


def beir(folder):
    json_lines(folder / "corpus.jsonl", [{"_id": name, "title": "", "text": text} for name, text in DOCUMENTS.items()])
    json_lines(folder / "queries.jsonl", [{"_id": name, "text": text, "metadata": {}} for name, text in QUERIES.items()])
    lines(folder / "qrels" / "train.tsv", ["query-id\tcorpus-id\tscore", "q1\td1\t1", "q1\td2\t0", "q2\td2\t2", "q2\td3\t0"])
    lines(folder / "qrels" / "test.tsv", ["query-id\tcorpus-id\tscore", "q3\td3\t1"])
    return folder


def parquet_folder(folder):
    folder.mkdir()
    tables = {
        "corpus": [{"doc_id": name, "title": None, "text": text} for name, text in DOCUMENTS.items()],
        "queries": [{"query_id": name, "text": text} for name, text in QUERIES.items()],
        "qrels": [
            {"query_id": query, "doc_id": document, "relevance": relevance}
            for query, document, relevance in (("q1", "d1", 1), ("q1", "d2", 0), ("q2", "d2", 1), ("q2", "d3", 0))
        ],
    }
    for name, rows in tables.items():
        pq.write_table(pa.Table.from_pylist(rows), folder / f"{name}.parquet")
    return folder


FORMATS = [
    jsonl,
    sentence_transformers,
    flag_embedding,
    tevatron,
    triples,
    parquet_rows,
    msmarco,
    msmarco_qrels,
    beir,
    parquet_folder,
]


@pytest.mark.parametrize("write", FORMATS, ids=lambda write: write.__name__)
def test_every_format_gives_the_same_queries_and_documents(write, tmp_path):
    data = build(tmp_path, write(tmp_path / "source"))
    expected = {query: ([one], [other], [None, None]) for query, (one, other) in EXPECTED.items()}
    assert contents(data) == expected
    assert data.facts()["queries"] == {"train": 0, "valid": 2}


def test_judgements_of_another_split_a_column_of_queries_and_no_titles_can_be_asked_for(tmp_path):
    folder = beir(tmp_path / "beir")
    assert contents(build(tmp_path, f"{folder},split=test")) == {"is rain wet": (["rain is wet"], [], [None])}
    titled = json_lines(tmp_path / "t.jsonl", [{"q": "who", "positive": {"title": "Bread", "text": "is baked"}}])
    assert contents(build(tmp_path, f"{titled},query=q")) == {"who": (["Bread is baked"], [], [None])}
    assert contents(build(tmp_path, f"{titled},query=q,title=no")) == {"who": (["is baked"], [], [None])}


def test_rows_of_one_query_are_one_query_and_a_positive_of_one_row_is_no_negative_of_another(tmp_path):
    rows = [
        {"query": "Who bakes?", "positive": "a", "negatives": ["b", "c"], "scores": [3, 2, 1]},
        {"query": "who bakes", "positive": "b", "negatives": ["c", "d", "e"]},
    ]
    data = build(tmp_path, json_lines(tmp_path / "t.jsonl", rows), max_negatives=3)
    assert contents(data) == {"Who bakes?": (["a", "b"], ["c", "d"], [3.0, None, 1.0, None])}
    assert data.facts()["dropped"] == {"negatives beyond data.max_negatives": 1, "negatives that are relevant by another row": 1}
    assert len(data.documents) == 5, "a document that is left out of the query still competes"


def test_candidates_without_a_told_positive_have_their_best_in_its_place():
    judged = parse_row({"query": "q", "documents": ["a", "b", "c"], "scores": [1, 5, 2.5]})
    assert (judged.positives, judged.negatives, judged.scores) == (["b"], ["a", "c"], [5, 1, 2.5])
    flag = parse_row({"query": "q", "pos": ["a"], "neg": ["b"], "pos_scores": [2], "neg_scores": [-1]})
    assert flag.scores == [2, -1]


def test_a_relevant_text_with_a_label_of_0_is_not_relevant(tmp_path):
    rows = [
        {"query": "who", "positive": "rain", "label": 0},
        {"query": "who", "positive": "a baker", "label": 1},
        {"query": "what", "positives": ["stone", "bread"], "negative": "milk", "labels": [0, 1, 0]},
        {"query": "when", "positive": "at night", "score": 0},
    ]
    assert contents(build(tmp_path, json_lines(tmp_path / "t.jsonl", rows))) == {
        "who": (["a baker"], ["rain"], [1.0, 0.0]),
        "what": (["bread"], ["stone", "milk"], [1.0, 0.0, 0.0]),
        "when": (["at night"], [], [0.0]),
    }


@pytest.mark.parametrize("header", ["query\tpositive\tnegative", "Anchor\tpos\tnegative_1"])
def test_a_first_line_of_column_names_is_no_triple(header, tmp_path):
    source = triples(tmp_path)
    plain = contents(build(tmp_path, source))
    lines(source, [header, *source.read_text().splitlines()])
    assert contents(build(tmp_path, source)) == plain


@pytest.mark.parametrize("first", ["one column", "two\tcolumns", "f\to\tu\tr"])
def test_a_bad_first_line_of_triples_does_not_set_their_columns(first, tmp_path):
    source = triples(tmp_path)
    plain = contents(build(tmp_path, source))
    lines(source, [first, *source.read_text().splitlines()])
    with pytest.raises(DataError, match=r"triples\.tsv, line 1: \d columns, expected 3"):
        build(tmp_path, source)
    assert contents(build(tmp_path, source, on_bad_row="skip")) == plain


def test_where_no_query_is_left_the_bad_rows_or_the_test_source_are_named(tmp_path):
    source = lines(tmp_path / "t.tsv", ["no tab", "here neither"])
    first = re.escape(f"{source}: no query with a relevant document (2 bad rows were skipped; {source}, line 1: 1 columns, expected 2")
    with pytest.raises(DataError, match=first):
        build(tmp_path, source, on_bad_row="skip")
    test = build(tmp_path, jsonl(tmp_path))
    with pytest.raises(DataError, match=r"train\.jsonl: no query is left: data\.test_sources hold 2 of them"):
        build(tmp_path, jsonl(tmp_path), held_out=False, without=test)


def test_no_query_text_is_in_two_splits_and_more_data_move_none(tmp_path):
    rows = [{"query": f"question number {number}", "positive": f"answer {number}"} for number in range(400)]
    few, many = json_lines(tmp_path / "few.jsonl", rows[:300]), json_lines(tmp_path / "many.jsonl", rows)
    split = {}
    for source in (few, many):
        data = build(tmp_path, source, held_out=False, valid_share=0.25)
        held = {row["query"] for row in data.valid.take(range(len(data.valid)))}
        taught = {row["query"] for row in data.train.take(range(len(data.train)))}
        assert not held & taught
        split[source] = held
    assert split[few] == split[many] & {row["query"] for row in rows[:300]}
    assert 60 < len(split[many]) < 140
    cut = build(tmp_path, many, held_out=False, max_queries=50)
    assert sum(cut.facts()["queries"].values()) == 50


def test_a_query_of_a_test_source_is_neither_trained_on_nor_validated_on(tmp_path):
    test = build(tmp_path, json_lines(tmp_path / "test.jsonl", [{"query": "Who bakes bread?", "positive": "a baker"}]))
    rows = [{"query": f"question {number}", "positive": f"answer {number}"} for number in range(30)]
    source = json_lines(tmp_path / "t.jsonl", [*rows, {"query": "who bakes bread", "positive": "bread is baked"}])
    data = build(tmp_path, source, held_out=False, without=test, valid_share=0.3)
    assert data.facts()["dropped"] == {"queries of a test source": 1}
    assert sum(data.facts()["queries"].values()) == 30


def test_what_is_in_the_store_is_not_read_again_and_a_changed_file_is(tmp_path):
    source = jsonl(tmp_path)
    first = build(tmp_path, source)
    assert build(tmp_path, source).folder == first.folder
    lines(source, [*source.read_text().splitlines(), '{"query": "new", "positive": "text"}'])
    assert build(tmp_path, source).folder != first.folder


GOOD = '{"query": "q", "positive": "p", "negatives": ["n"]}'


@pytest.mark.parametrize(
    ("name", "line", "message"),
    [
        ("t.jsonl", "{broken", "line 3: not JSON"),
        ("t.jsonl", '["q", "p"]', "line 3: is a list, expected an object"),
        ("t.jsonl", '{"positive": "p"}', "line 3: no query, question, anchor; it has positive"),
        ("t.jsonl", '{"query": 3, "positive": "p"}', "line 3: its query is int, expected a string"),
        ("t.jsonl", '{"query": "q"}', "line 3: no relevant text"),
        ("t.jsonl", '{"query": "q", "positive": 7}', "line 3: a text is int"),
        ("t.jsonl", '{"query": " ", "positive": "p"}', "line 3: an empty query"),
        ("t.jsonl", '{"query": "q", "positive": ""}', "line 3: an empty text"),
        ("t.jsonl", '{"query": "q", "positive": "\\ud800"}', "line 3: a text holds half of a surrogate pair"),
        ("t.jsonl", '{"query": "q", "positive": "p", "scores": [1, 2]}', "line 3: 2 scores for 1 texts"),
        ("t.jsonl", '{"query": "q", "positive": "p", "negative": ["n"], "scores": [1, "x"]}', "line 3: a score is no finite number"),
        ("t.jsonl", '{"query": "q", "positive": "p", "score": 1e300}', "line 3: a score is no finite number of 32 bits"),
        ("t.jsonl", f'{{"query": "q", "positive": "p", "score": {"9" * 401}}}', "line 3: a score is no finite number of 32 bits"),
        ("t.jsonl", '{"query": "q", "documents": ["p", "n"]}', "line 3: has candidates without scores"),
        ("t.jsonl", '{"query": "q", "documents": ["p", "n"], "scores": [2, 2]}', "line 3: its scores are all equal"),
        ("t.tsv", "q\tp", "line 3: 2 columns, expected 3"),
        ("t.tsv", "\tp\tn", "line 3: an empty query"),
    ],
)
def test_a_bad_line_is_told_with_its_place_or_counted(name, line, message, tmp_path):
    good = GOOD if name.endswith("jsonl") else "q\tp\tn"
    source = lines(tmp_path / name, [good, good.replace("q", "r", 1) if name.endswith("tsv") else good, line])
    with pytest.raises(DataError, match=re.escape(f"{source}, {message}")) as refused:
        build(tmp_path, source)
    assert "\n" not in str(refused.value)
    assert "--on-bad-row=skip" in str(refused.value)
    tally = build(tmp_path, source, on_bad_row="skip").facts()["sources"][str(source)]
    assert sum(tally["bad"].values()) == 1
    assert message in tally["examples"][0]


def test_bytes_that_are_not_utf8_are_told_with_their_line(tmp_path):
    (tmp_path / "t.tsv").write_bytes(b"q\tp\tn\nq\tp\xff\tn\n")
    with pytest.raises(DataError, match=r"t\.tsv, line 2: byte 4 is 0xff, not UTF-8"):
        build(tmp_path, tmp_path / "t.tsv")


@pytest.mark.parametrize(
    ("file", "line", "message"),
    [
        ("qrels/train.tsv", "q1\tnowhere\t1", "names document 'nowhere', which"),
        ("qrels/train.tsv", "q1\td4\t1", "names document 'd4', which"),
        ("qrels/train.tsv", "q77\td1\t1", "names query 'q77', which"),
        ("qrels/train.tsv", "q1\td1", "2 columns"),
        ("qrels/train.tsv", "q1\td1\tyes", "3 columns ('q1\\td1\\tyes'), expected 3 (query id, document id, a whole number)"),
        ("corpus.jsonl", '{"text": "no id"}', "has text; expected doc_id or _id or id, and text"),
        ("corpus.jsonl", '{"_id": "d9", "text": 4}', "its text is int"),
        ("queries.jsonl", '{"_id": "q9"}', "has _id; expected query_id or _id or id, and text"),
    ],
)
def test_a_bad_line_of_a_folder_is_told_with_its_file_and_place(file, line, message, tmp_path):
    path = beir(tmp_path / "beir") / file
    number = len(path.read_text().splitlines()) + 1
    with path.open("a") as stream:
        stream.write(line + "\n")
    with pytest.raises(DataError, match=re.escape(f"{path}, line {number}: {message}")):
        build(tmp_path, tmp_path / "beir")
    assert contents(build(tmp_path, tmp_path / "beir", on_bad_row="skip")).keys() == EXPECTED.keys()


def repeat_in_lines(path, row):
    with path.open("a") as stream:
        stream.write(row + "\n")


def repeat_in_table(path, row):
    pq.write_table(pa.Table.from_pylist([*pq.read_table(path).to_pylist(), row]), path)


@pytest.mark.parametrize(
    ("write", "file", "repeat", "same", "other"),
    [
        (msmarco, "queries.train.tsv", repeat_in_lines, "q1\twho bakes bread", "q1\twho else"),
        (beir, "corpus.jsonl", repeat_in_lines, '{"_id": "d1", "text": "bread is baked"}', '{"_id": "d1", "text": "bread is bought"}'),
        (beir, "corpus.jsonl", repeat_in_lines, '{"_id": "d1", "text": "bread is baked"}', '{"_id": "d1", "text": ""}'),
        (beir, "queries.jsonl", repeat_in_lines, '{"_id": "q1", "text": "who bakes bread"}', '{"_id": "q1", "text": "who else"}'),
        (
            parquet_folder,
            "corpus.parquet",
            repeat_in_table,
            {"doc_id": "d1", "text": "bread is baked"},
            {"doc_id": "d1", "text": "rain is wet"},
        ),
    ],
)
def test_an_id_that_comes_again_with_another_text_is_a_bad_row_and_the_first_stays(write, file, repeat, same, other, tmp_path):
    folder = write(tmp_path / "source")
    plain = build(tmp_path, folder)
    repeat(folder / file, same)
    assert contents(build(tmp_path, folder)) == contents(plain), "the same again is no harm"
    repeat(folder / file, other)
    with pytest.raises(DataError, match=rf"{file}, (line|row) \d: id '[dq]1' again, with another text"):
        build(tmp_path, folder)
    data = build(tmp_path, folder, on_bad_row="skip")
    assert contents(data) == contents(plain)
    assert len(data.documents) == len(plain.documents)
    assert data.facts()["sources"][str(folder)]["bad"] == {"repeated id": 1}


def test_judgements_of_a_table_are_numbers_and_a_missing_one_is_a_bad_row(tmp_path):
    folder = parquet_folder(tmp_path / "tables")
    rows = pq.read_table(folder / "qrels.parquet").to_pylist()
    odd = [
        {"query_id": None, "doc_id": "d1", "relevance": 1.0},
        {"query_id": "q1", "doc_id": "d3", "relevance": float("nan")},
        {"query_id": "q1", "doc_id": "d3", "relevance": None},
    ]
    schema = pa.schema({"query_id": pa.string(), "doc_id": pa.string(), "relevance": pa.float64()})
    pq.write_table(pa.Table.from_pylist(rows + odd, schema), folder / "qrels.parquet")
    with pytest.raises(DataError, match=r"qrels\.parquet, row 5: its query_id is None, expected a value"):
        build(tmp_path, folder)
    data = build(tmp_path, folder, on_bad_row="skip")
    assert contents(data).keys() == EXPECTED.keys()
    assert data.facts()["sources"][str(folder)]["bad"] == {"missing value": 3}
    pq.write_table(pa.Table.from_pylist([row | {"relevance": str(row["relevance"])} for row in rows]), folder / "qrels.parquet")
    with pytest.raises(DataError, match=r"qrels\.parquet: column relevance is string, expected a number"):
        build(tmp_path, folder, on_bad_row="skip")
    pq.write_table(pa.table({"query_id": ["q1"], "relevance": [1]}), folder / "qrels.parquet")
    with pytest.raises(DataError, match=r"qrels\.parquet: has query_id, relevance; expected query_id, doc_id and relevance"):
        build(tmp_path, folder)


def test_a_divergence_wants_scores_of_several_texts(tmp_path):
    bare = json_lines(tmp_path / "bare.jsonl", [{"query": f"q{n}", "positive": "p", "negative": "n"} for n in range(20)])
    with pytest.raises(DataError, match=r"bare\.jsonl, line 1: no scores, and the divergence"):
        build(tmp_path, bare, terms=["kl"])
    with pytest.raises(DataError, match="no training query has scores of two or more texts, which objective.kl needs"):
        build(tmp_path, bare, terms=["kl", "contrastive"], held_out=False)
    lonely = json_lines(tmp_path / "lonely.jsonl", [{"query": "q", "positive": "p", "score": 1.0}])
    with pytest.raises(DataError, match=r"lonely\.jsonl, line 1: scores of 1 text, expected negatives too"):
        build(tmp_path, lonely, terms=["kl", "contrastive"])


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        ("nowhere.jsonl", DataError, "nowhere.jsonl: no such file or folder"),
        ("t.jsonl,colour=red", ConfigError, "unknown key 'colour'; it takes format, split"),
        ("t.jsonl,query=a,query=b", ConfigError, "query is given twice"),
        ("t.jsonl,format=xml", ConfigError, "format=xml; expected jsonl, triples"),
        ("t.jsonl,title=maybe", ConfigError, "title=maybe; expected yes or no"),
        (",format=jsonl", ConfigError, "no path"),
        ("s3://bucket/t.jsonl", ConfigError, "read from local paths"),
        ("empty", DataError, "holds nothing; expected *.jsonl"),
        ("odd", DataError, "holds a.csv; expected *.jsonl"),
        ("beir,split=dev", DataError, "has judgements test, train, not dev"),
        ("marco", DataError, "0 files may be its triples (none); say which with triples=FILE"),
        ("damaged.parquet", DataError, "damaged.parquet: cannot be read as Parquet"),
    ],
)
def test_a_source_that_cannot_be_read_is_one_line(source, error, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lines(tmp_path / "t.jsonl", [GOOD])
    (tmp_path / "empty").mkdir()
    lines(tmp_path / "odd" / "a.csv", ["a,b"])
    beir(tmp_path / "beir")
    (msmarco(tmp_path / "marco") / "triples.train.ids.small.tsv").unlink()
    lines(tmp_path / "damaged.parquet", ["PAR1"])
    with pytest.raises(error, match=re.escape(message)) as found:
        build(tmp_path, source)
    assert "\n" not in str(found.value)


def test_files_of_ms_marco_can_be_named(tmp_path):
    folder = msmarco(tmp_path / "marco")
    lines(folder / "other.triples.tsv", ["q3\td3\td1"])
    data = build(tmp_path, f"{folder},triples=other.triples.tsv,queries=queries.train.tsv")
    assert contents(data) == {"is rain wet": (["rain is wet"], ["bread is baked"], [None, None])}


def test_a_row_error_says_its_kind():
    with pytest.raises(RowError) as found:
        parse_row({"query": "q", "positive": "p", "scores": [1, 2, 3]})
    assert found.value.kind == "scores of other length"
