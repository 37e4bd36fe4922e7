import gzip
import json

import pytest
from retrieval.formats.released import all_texts, check_contract, relevant, write_text

from optical_ray.errors import DataError
from optical_ray.retrieval.formats.options import FormatOptions
from optical_ray.retrieval.formats.read import read_collections


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
