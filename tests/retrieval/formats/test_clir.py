"""TREC, BEIR, tables, mMARCO, WikiCLIR, CLIRMatrix and ir_datasets."""

import gzip
import json
import sys
from pathlib import Path

import pytest
from retrieval.formats.released import all_texts, check_contract, relevant, write_jsonl, write_table, write_text

from optical_ray.errors import ConfigError, DataError
from optical_ray.retrieval.formats.options import FormatOptions
from optical_ray.retrieval.formats.read import read_collections

TOPICS = """<top>
<num> Number: 301
<title> Organized &amp; Crime
<desc> Description:
Who is
organized?
<narr> Narrative: none
</top>
<top>
<num> 302 </num>
<EN-title> Polio </EN-title>
<EN-desc> Is it <b>gone</b>? </EN-desc>
</top>
"""
DOCUMENTS = """<DOC>
<DOCNO> FT-1 </DOCNO>
<DATE>today</DATE>
<HEADLINE>Crime &amp; order</HEADLINE>
<P>not shown</P>
<TEXT>
They are
<b>organized</b>.
</TEXT>
</DOC>

<DOC>
<DOCNO>FT-2</DOCNO>
No tags here.
</DOC>
"""


@pytest.fixture
def trec(tmp_path):
    folder = tmp_path / "robust"
    write_text(folder / "topics.301-302.txt", TOPICS)
    write_text(folder / "qrels.txt", "301 0 FT-1 1", "301 0 FT-2 0", "302 0 FT-2 2")
    write_text(folder / "documents" / "ft" / "ft-1", DOCUMENTS)
    return folder


def test_trec_topics_qrels_and_documents(trec):
    [found] = read_collections("trec", trec, FormatOptions(document_language="fr"))
    check_contract(found)
    assert found.name == "robust" and found.queries.ids == ("301", "302") and found.queries.texts == ("Organized & Crime", "Polio")
    assert found.qrels == {"301": {"FT-1": 1, "FT-2": 0}, "302": {"FT-2": 2}}
    assert all_texts(found.documents) == {"FT-1": ("fr", "today Crime & order They are organized ."), "FT-2": ("fr", "No tags here.")}


def test_topic_fields_are_joined(trec):
    [found] = read_collections("trec", trec, FormatOptions(topic_fields=("title", "description")))
    assert found.queries.texts == ("Organized & Crime Who is organized?", "Polio Is it gone ?")


def test_topics_in_xml_and_documents_in_columns(tmp_path):
    first = '<topic number="1"><query>  masks\n work? </query><question>Do they?</question></topic>'
    xml = f'<topics>{first}<topic number="2">bare</topic></topics>'
    write_text(tmp_path / "topics.xml", xml)
    write_text(tmp_path / "qrels", "1 0 a 1", "2 0 b 1")
    (tmp_path / "documents.tsv.gz").write_bytes(gzip.compress("a\tوثيقة\nb\t文書\n".encode()))
    [found] = read_collections("trec", tmp_path, FormatOptions(document_language="ar", topic_fields=("title", "description")))
    assert found.queries.texts == ("masks work? Do they?", "bare") and all_texts(found.documents)["b"] == ("ar", "文書")


def test_hc4_topics_are_asked_in_the_language_that_is_named(tmp_path):
    topics = [
        {"lang": "eng", "source": "original", "topic_title": "Aid", "topic_description": "What aid?"},
        {"lang": "fas", "source": "google translation", "topic_title": "maschine", "topic_description": ""},
        {"lang": "fas", "source": "human translation", "topic_title": "کمک", "topic_description": "چه کمکی؟"},
    ]
    write_jsonl(tmp_path / "topics.jsonl", {"topic_id": "700", "languages_with_qrels": ["fas"], "topics": topics})
    write_text(tmp_path / "qrels.fas.txt", "700 0 x 3")
    write_jsonl(tmp_path / "documents.jsonl", {"id": "x", "title": "عنوان", "text": "متن", "url": "u"})
    options = FormatOptions(document_language="fas")
    [english] = read_collections("trec", tmp_path, options)
    [persian] = read_collections("trec", tmp_path, options.override({"query_language": "fa", "topic_fields": ["title", "description"]}))
    assert english.queries.texts == ("Aid",) and persian.queries.texts == ("کمک چه کمکی؟",)
    assert all_texts(persian.documents) == {"x": ("fa", "عنوان متن")} and persian.queries.languages == ("fa",)
    with pytest.raises(DataError, match=r"topics\.jsonl, line 1: no topic in ru \(there are eng, fas\)"):
        read_collections("trec", tmp_path, options.override({"query_language": "ru"}))


def test_other_encodings_have_to_be_named(trec):
    (trec / "documents" / "ft" / "ft-1").write_bytes(DOCUMENTS.replace("They", "Élan").encode("latin-1"))
    with pytest.raises(DataError, match=r"ft-1, document 1: byte \d+ is 0xc9, not utf-8"):
        read_collections("trec", trec)
    [found] = read_collections("trec", trec, FormatOptions(encoding="latin-1"))
    assert "Élan are" in all_texts(found.documents)["FT-1"][1]


def test_runs_are_re_ranked_in_their_order(trec):
    run = write_text(trec.parent / "run.txt", "301 Q0 FT-2 1 9.5 tag", "301 Q0 FT-1 2 9.0 tag", "999 Q0 FT-1 1 1.0 tag")
    [found] = read_collections("trec", trec, FormatOptions(candidates=str(run)))
    check_contract(found)
    assert found.candidates == {"301": ("FT-2", "FT-1"), "302": ()}  # a question that the run does not name finds nothing
    [judged] = read_collections("trec", trec, FormatOptions(candidates="judged"))
    assert judged.candidates == {"301": ("FT-1", "FT-2"), "302": ("FT-2",)}
    [three] = read_collections("trec", trec, FormatOptions(candidates=str(write_text(trec.parent / "ms.tsv", "302\tFT-1\t1"))))
    assert three.candidates == {"301": (), "302": ("FT-1",)}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("301 Q0 FT-9 3 1.0 tag", "ranks document 'FT-9' for query '301', which is not among the documents"),
        ("301 FT-1", "line 2: 2 columns, expected 6"),
        ("301 Q0 FT-2 2 1.0 tag", "line 2: ranks document 'FT-2' again"),
    ],
)
def test_bad_runs_are_told(trec, line, message):
    run = write_text(trec.parent / "run.txt", "301 Q0 FT-2 1 9.5 tag", line)
    with pytest.raises(DataError, match=message):
        read_collections("trec", trec, FormatOptions(candidates=str(run)))


def test_a_run_of_another_task_is_told(trec):
    run = write_text(trec.parent / "run.txt", "9 Q0 FT-2 1 9.5 tag")
    with pytest.raises(DataError, match=r"names none of the 2 queries \(it has '9'\)"):
        read_collections("trec", trec, FormatOptions(candidates=str(run)))


@pytest.mark.parametrize("name", ["topics.301-302.txt", "qrels.txt", "documents"])
def test_a_missing_part_of_a_trec_folder_is_told(trec, name):
    (trec / name).rename(trec / f"other-{name}")
    with pytest.raises(
        DataError, match=r"(no file topics\* in it|no file qrels\* in it|neither documents\.\* nor a folder documents/ in it); trec reads"
    ):
        read_collections("trec", trec)


# ---- BEIR


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


# ---- tables


def test_tables_name_languages_splits_and_clusters(tmp_path):
    write_table(
        tmp_path / "queries.parquet",
        query_id=["1", "2", "3", "4"],
        lang=["swa", "hau", "swa", "swa"],
        split=["test", "test", "dev", "test"],
        text=["Nani?", "Wa?", "Lini?", ""],
        cluster=["who", "who", "when", "why"],
    )
    write_table(tmp_path / "corpus.parquet", _id=[7, 8], title=["T", None], text=["one", "two"])
    write_table(tmp_path / "qrels.parquet", **{"query-id": ["1", "2", "3"], "corpus-id": [7, 8, 8], "score": [1, 2, 1]})
    options = FormatOptions(on_bad="skip", document_language="en")
    [found] = read_collections("parquet", tmp_path, options)
    assert found.queries.ids == ("1", "2") and found.queries.languages == ("sw", "ha") and found.queries.clusters == ("who", "who")
    assert all_texts(found.documents) == {"7": ("en", "T one"), "8": ("en", "two")}
    assert found.skipped == {"empty query": 1}
    write_table(tmp_path / "qrels.parquet", query_id=["1", "2"], doc_id=["7", "8"])
    [hausa] = read_collections("parquet", tmp_path, options.override({"languages": ["ha"], "on_bad": "refuse"}))
    assert hausa.queries.ids == ("2",) and hausa.qrels == {"2": {"8": 1}}


def test_a_corpus_may_lie_in_parts(tmp_path):
    write_table(tmp_path / "queries.parquet", query_id=["1"], text=["x"])
    write_table(tmp_path / "corpus" / "part-1.parquet", doc_id=["8"], text=["z"])
    write_table(tmp_path / "corpus" / "part-0.parquet", doc_id=["7"], text=["y"])
    write_table(tmp_path / "qrels.parquet", query_id=["1"], doc_id=["8"], relevance=[1])
    [found] = read_collections("parquet", tmp_path)
    assert list(all_texts(found.documents)) == ["7", "8"]


@pytest.mark.parametrize(
    ("table", "columns", "message"),
    [
        ("corpus", {"doc_id": ["7"], "body": ["x"]}, "corpus.parquet: has columns doc_id, body; expected text"),
        ("qrels", {"query_id": ["1"], "relevance": [1]}, "qrels.parquet: has columns query_id, relevance; expected doc_id"),
        ("qrels", {"query_id": ["1"], "doc_id": ["7"], "relevance": [0.5]}, "row 1: its relevance is 0.5, expected a whole number"),
        ("queries", {"query_id": ["1"], "text": ["x"], "split": ["train"]}, "no query of the test split; its column split has train"),
        ("queries", {"query_id": ["1"], "text": ["x"], "lang": ["qqq-nope"]}, "row 1: 'qqq-nope' is no language code"),
    ],
)
def test_tables_without_what_is_needed_are_told(tmp_path, table, columns, message):
    write_table(tmp_path / "queries.parquet", query_id=["1"], text=["x"])
    write_table(tmp_path / "corpus.parquet", doc_id=["7"], text=["y"])
    write_table(tmp_path / "qrels.parquet", query_id=["1"], doc_id=["7"], relevance=[1])
    write_table(tmp_path / f"{table}.parquet", **columns)
    with pytest.raises(DataError, match=message):
        read_collections("parquet", tmp_path)


# ---- mMARCO, WikiCLIR, CLIRMatrix


@pytest.fixture
def mmarco(tmp_path):
    write_text(tmp_path / "qrels.dev.small.tsv", "1\t0\t7\t1", "2\t0\t8\t1")
    for language, passages, queries in [("english", ("seven", "eight"), ("one?", "two?")), ("chinese", ("七", "八"), ("一?", "二?"))]:
        write_text(
            tmp_path / "google" / "collections" / f"{language}_collection.tsv",
            *(f"{i}\t{t}" for i, t in zip((7, 8), passages, strict=True)),
        )
        dev = tmp_path / "google" / "queries" / "dev"
        write_text(dev / f"{language}_queries.dev.small.tsv", *(f"{i}\t{t}" for i, t in zip((1, 2), queries, strict=True)))
    return tmp_path / "google"


def test_mmarco_asks_in_any_language_among_passages_of_another(mmarco):
    chinese, english = read_collections("mmarco", mmarco)
    assert [chinese.name, english.name] == ["zh-Hans-en", "en-en"] and chinese.documents is english.documents
    assert chinese.queries.texts == ("一?", "二?") and chinese.queries.clusters == english.queries.clusters == ("1", "2")
    assert relevant(chinese) == {"1": {"7"}, "2": {"8"}} and all_texts(chinese.documents)["8"] == ("en", "eight")
    [back] = read_collections("mmarco", mmarco, FormatOptions(pairs=("en:zh",)))
    assert back.name == "en-zh-Hans" and all_texts(back.documents)["8"] == ("zh-Hans", "八")
    with pytest.raises(DataError, match=r"no swahili_collection|no sw_queries.dev.small.tsv; fetch"):
        read_collections("mmarco", mmarco, FormatOptions(languages=("sw",)))
    with pytest.raises(DataError, match=r"german_collection.tsv: no such file; mmarco reads"):
        read_collections("mmarco", mmarco, FormatOptions(pairs=("en:de",)))
    with pytest.raises(DataError, match="name split=test"):
        read_collections("mmarco", mmarco, FormatOptions(split="valid"))


def test_wikiclir_asks_in_english_among_articles_of_each_language(tmp_path):
    write_text(
        tmp_path / "english" / "wiki_en.queries",
        "12\tAnarchism\tis a philosophy.",
        "25\tAutism\tis a disorder.",
        "39\tAlbedo\tis a measure.",
    )
    write_text(tmp_path / "swahili" / "wiki_sw.documents", "100\tUtawala\tUtawala huria.", "101\tOtizimu\tUgonjwa.")
    write_text(tmp_path / "swahili" / "en2sw.rel", "12\t100\t2", "12\t101\t1", "25\t101\t2")
    write_text(tmp_path / "simple_english" / "wiki_simple.documents", "9\tAutism\tIt is a disorder.")
    write_text(tmp_path / "simple_english" / "en2simple.rel", "25\t9\t2")
    simple, swahili = read_collections("wikiclir", tmp_path)
    check_contract(swahili)
    assert swahili.name == "en-sw" and swahili.queries.texts == ("is a philosophy.", "is a disorder.")
    assert swahili.qrels == {"12": {"100": 2, "101": 1}, "25": {"101": 2}} and swahili.skipped == {"query without judgements": 1}
    assert all_texts(swahili.documents)["100"] == ("sw", "Utawala Utawala huria.")
    assert simple.name == "en-en" and simple.documents.languages == ("en",)
    [chosen] = read_collections("wikiclir", tmp_path, FormatOptions(document_language="swa", candidates="judged"))
    assert chosen.candidates == {"12": ("100", "101"), "25": ("101",)}
    with pytest.raises(DataError, match=r"no file of language 'fr' \(there are en, sw\)"):
        read_collections("wikiclir", tmp_path, FormatOptions(document_language="fr"))
    (tmp_path / "swahili" / "en2sw.rel").unlink()
    with pytest.raises(DataError, match=r"en2sw\.rel: no such file; wikiclir reads"):
        read_collections("wikiclir", tmp_path)


def test_clirmatrix_reads_grades_inside_its_queries(tmp_path):
    rows = [
        {"src_id": "1", "src_query": "نهر", "tgt_results": [["5", 6], ["6", 0], ["7", 3]]},
        {"src_id": "2", "src_query": "بحر", "tgt_results": [["6", 0]]},
    ]
    packed = gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode())
    (tmp_path / "BI-139" / "base" / "ar").mkdir(parents=True)
    (tmp_path / "BI-139" / "base" / "ar" / "ar.ja.test1.base.jl.gz").write_bytes(packed)
    (tmp_path / "DOCS").mkdir()
    (tmp_path / "DOCS" / "ja.tsv.gz").write_bytes(gzip.compress("5\t川\n6\t海\n7\t河\n8\t山\n".encode()))
    [found] = read_collections("clirmatrix", tmp_path, FormatOptions(candidates="judged"))
    check_contract(found)
    assert found.name == "ar-ja" and found.queries.texts == ("نهر",) and found.qrels == {"1": {"5": 6, "6": 0, "7": 3}}
    assert found.candidates == {"1": ("5", "6", "7")} and len(found.documents) == 4
    assert found.skipped == {"query without a relevant document": 1}
    assert read_collections("clirmatrix", tmp_path / "BI-139" / "base", FormatOptions(pairs=("arb:jpn",)))[0].qrels == found.qrels
    with pytest.raises(DataError, match="no file of questions ja:ar"):
        read_collections("clirmatrix", tmp_path, FormatOptions(pairs=("ja:ar",)))
    (tmp_path / "MULTI-8").mkdir()
    (tmp_path / "MULTI-8" / "ar.ja.test1.jl.gz").write_bytes(packed)
    with pytest.raises(DataError, match="has the same languages; name a folder with one of"):
        read_collections("clirmatrix", tmp_path)
    with pytest.raises(DataError, match=r"no file <query>.<document>.dev\*.jl below it"):
        read_collections("clirmatrix", tmp_path, FormatOptions(split="valid"))


def test_without_the_package_an_id_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "ir_datasets", None)
    with pytest.raises(ConfigError, match=r"pip install optical-ray\[ir-datasets\]"):
        read_collections("ir_datasets", tmp_path)


def test_other_tasks_are_named():
    with pytest.raises(ConfigError, match="no task 'nope'; there are bitext, tatoeba, lareqa, mewsli-x, trec"):
        read_collections("nope", Path("x"))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("pairs", ["sw-en"], "'sw-en' is no pair; expected QUERIES:DOCUMENTS"),
        ("encoding", "latin-99", "'latin-99' is no encoding"),
        ("passage_overlap", 5, "passages of 5 words cannot share 5"),
        ("topic_fields", [], "at least 1"),
    ],
)
def test_options_that_make_no_sense_are_told(field, value, message):
    with pytest.raises(ConfigError, match=message):
        FormatOptions.parse({"passage_words": 5, field: value}, "formats")
