"""Bitext and Tatoeba."""

import pytest
from retrieval.formats.released import all_texts, check_contract, relevant, write_bitext, write_table, write_text
from sentences import OBJECTS, SUBJECTS, VERBS, translate

from optical_ray.analysis.views import Search, view_searches
from optical_ray.artifacts import Store
from optical_ray.data.building.pipeline import build_corpus
from optical_ray.data.corpus_config import CorpusConfig
from optical_ray.errors import ConfigError, DataError
from optical_ray.retrieval.formats.options import FormatOptions
from optical_ray.retrieval.formats.read import read_collections

THANKS = "Thank you."
"""Stands twice, as lines of Tatoeba do."""


@pytest.fixture
def tatoeba(tmp_path):
    write_text(tmp_path / "tatoeba.swh-eng.eng", THANKS, "Come here!", THANKS)
    write_text(tmp_path / "tatoeba.swh-eng.swh", "Asante.", "Njoo hapa!", "Ahsante.")
    write_text(tmp_path / "tatoeba.heb-eng.eng", "come here", "Good night.")
    write_text(tmp_path / "tatoeba.heb-eng.heb", "בוא הנה", "לילה טוב.")
    return tmp_path


def test_each_line_asks_for_its_own_counterpart_in_both_directions(tatoeba):
    collections = read_collections("tatoeba", tatoeba)
    assert [c.name for c in collections] == ["he-en", "sw-en", "en-he", "en-sw"]
    for collection in collections:
        check_contract(collection)
    swahili, back = collections[1], collections[3]
    assert swahili.queries.texts == ("Asante.", "Njoo hapa!", "Ahsante.") and swahili.queries.languages == ("sw",) * 3
    assert swahili.queries.ids == ("sw-1", "sw-2", "sw-3")
    assert all_texts(swahili.documents) == {"en-1": ("en", THANKS), "en-2": ("en", "Come here!"), "en-3": ("en", THANKS)}
    assert relevant(swahili) == {"sw-1": {"en-1"}, "sw-2": {"en-2"}, "sw-3": {"en-3"}}
    assert relevant(back) == {"en-1": {"sw-1"}, "en-2": {"sw-2"}, "en-3": {"sw-3"}}
    assert back.queries.languages == ("en",) * 3 and back.documents.languages == ("sw",)


def test_where_duplicates_count_every_line_of_the_same_text_is_right(tatoeba):
    options = FormatOptions(languages=("sw",), duplicates="all")
    forth, back = read_collections("tatoeba", tatoeba, options)
    assert relevant(forth) == {"sw-1": {"en-1", "en-3"}, "sw-2": {"en-2"}, "sw-3": {"en-1", "en-3"}}
    assert relevant(back) == {"en-1": {"sw-1", "sw-3"}, "en-2": {"sw-2"}, "en-3": {"sw-1", "sw-3"}}  # both translate "Thank you."


def test_lines_that_say_the_same_share_a_cluster_in_every_language_and_direction(tatoeba):
    hebrew, swahili, from_english, _ = read_collections("tatoeba", tatoeba)
    come, thanks = swahili.queries.clusters[1], swahili.queries.clusters[0]
    assert hebrew.queries.clusters[0] == come == from_english.queries.clusters[0]  # case and punctuation apart
    assert swahili.queries.clusters == (thanks, come, thanks) and thanks != come


def test_unicode_is_compared_as_it_is_written(tmp_path):
    write_text(tmp_path / "tatoeba.vie-eng.eng", "He eats.", "She eats.", "Wait!")
    write_text(tmp_path / "tatoeba.vie-eng.vie", "Phở ngon.", "Pho\u031b\u0309 ngon.", "เดี๋ยวก่อน!")
    [forth] = read_collections("tatoeba", tmp_path, FormatOptions(directions=("en-xx",), duplicates="all"))
    assert relevant(forth) == {"en-1": {"vi-1"}, "en-2": {"vi-2"}, "en-3": {"vi-3"}}
    assert all_texts(forth.documents)["vi-2"] == ("vi", "Pho\u031b\u0309 ngon.")


def test_line_separators_inside_a_line_part_no_lines(tmp_path):
    (tmp_path / "tatoeba.fra-eng.eng").write_bytes("\ufeffone\x0btwo\u2028three\r\nfour".encode())
    (tmp_path / "tatoeba.fra-eng.fra").write_bytes("un\x0bdeux\u2028trois\r\nquatre\n".encode())
    [forth] = read_collections("tatoeba", tmp_path, FormatOptions(directions=("xx-en",)))
    assert forth.queries.texts == ("un\x0bdeux\u2028trois", "quatre") and all_texts(forth.documents)["en-2"] == ("en", "four")


def test_the_benchmark_asks_for_all_its_languages(tatoeba):
    options = FormatOptions(language_set="xtreme-r")
    with pytest.raises(DataError, match=r"no file of language 'ar' \(there are he, sw\); fetch https://github.com/facebookresearch/LASER"):
        read_collections("tatoeba", tatoeba, options)
    kept = read_collections("tatoeba", tatoeba, options.override({"on_bad": "skip"}))
    assert [c.name for c in kept] == ["he-en", "sw-en", "en-he", "en-sw"]
    assert kept[0].skipped == {"language without a file": 39}


def test_other_numbers_of_lines_are_refused_or_the_rest_is_counted(tatoeba):
    write_text(tatoeba / "tatoeba.heb-eng.heb", "בוא הנה")
    with pytest.raises(DataError, match=r"tatoeba.heb-eng.heb: 1 lines, tatoeba.heb-eng.eng has 2; expected as many in both"):
        read_collections("tatoeba", tatoeba)
    hebrew = read_collections("tatoeba", tatoeba, FormatOptions(on_bad="skip"))[0]
    assert len(hebrew.queries) == 1 and hebrew.skipped == {"line without a counterpart": 1}


@pytest.mark.parametrize(
    ("line", "message", "reason"),
    [
        ("  ", "line 2: no text; take the pair out", "pair with an empty side"),
        ("a\0b", "line 2: holds a NUL byte", "text with a NUL byte or invalid UTF-8"),
        ("a\udcffb", "line 2: byte 2 is 0xff, not utf-8", "text with a NUL byte or invalid UTF-8"),
    ],
)
def test_bad_lines_are_refused_or_counted_and_the_others_keep_their_numbers(tatoeba, line, message, reason):
    (tatoeba / "tatoeba.swh-eng.swh").write_bytes(f"Asante.\n{line}\nAhsante.\n".encode(errors="surrogateescape"))
    options = FormatOptions(languages=("swa",), directions=("xx-en",))
    with pytest.raises(DataError, match=message):
        read_collections("tatoeba", tatoeba, options)
    [kept] = read_collections("tatoeba", tatoeba, options.override({"on_bad": "skip"}))
    assert kept.queries.ids == ("sw-1", "sw-3") and kept.skipped == {reason: 1}


def test_files_that_are_not_there_are_named_with_their_source(tmp_path):
    with pytest.raises(DataError, match=r"no such folder; tatoeba reads tatoeba.<iso>-eng.<iso>.*data/tatoeba/v1") as told:
        read_collections("tatoeba", tmp_path / "nowhere")
    assert "\n" not in str(told.value)
    write_text(tmp_path / "tatoeba.swh-eng.swh", "Asante.")
    with pytest.raises(DataError, match=r"tatoeba.swh-eng.eng: no such file"):
        read_collections("tatoeba", tmp_path)


# ---- bitext


@pytest.fixture
def parallel(tmp_path):
    write_bitext(tmp_path, "swh", ["Come.", "Go.", "Come."], ["Njoo.", "Nenda.", "Njoo!"])
    write_bitext(tmp_path, "ara", ["Go.", "Stop.", "Come."], ["اذهب.", "قف.", "تعال."])
    return tmp_path


def test_languages_that_share_their_english_ask_for_each_other(parallel):
    options = FormatOptions(directions=("xx-yy",))
    arabic, swahili = read_collections("bitext", parallel, options)
    assert [arabic.name, swahili.name] == ["ar-sw", "sw-ar"]
    assert relevant(arabic) == {"ar-1": {"sw-2"}, "ar-3": {"sw-1"}} and len(arabic.documents) == 3  # "Stop." has no Swahili
    assert arabic.skipped == swahili.skipped == {"line without a translation in the other language": 1}
    assert relevant(swahili) == {"sw-1": {"ar-3"}, "sw-2": {"ar-1"}}  # the second "Come." has no second one in Arabic
    [paired] = read_collections("bitext", parallel, FormatOptions(pairs=("swa:arb",)))
    assert paired.name == "sw-ar" and relevant(paired) == relevant(swahili)


def test_two_files_of_one_language_are_told_apart_by_their_codes(tmp_path):
    for code, text in [("fra", "Viens."), ("fra-CA", "Viens-t'en."), ("swh", "Njoo.")]:
        write_bitext(tmp_path, code, ["Come."], [text])
    both = FormatOptions(directions=("xx-en",))
    assert [(c.name, c.queries.ids[0], c.queries.languages[0]) for c in read_collections("bitext", tmp_path, both)] == [
        ("fr-en", "fr-1", "fr"),
        ("fra-CA-en", "fra-CA-1", "fr-CA"),
        ("sw-en", "sw-1", "sw"),
    ]
    views = view_searches(Search("bitext", c.name, c.queries.languages[0], "en") for c in read_collections("bitext", tmp_path, both))
    assert {view.task for view in views.values()} == {"bitext"}, "so there is a mean over all of them"
    for options in ({"languages": ("fra-CA",)}, {"pairs": ("fra-CA:en",)}, {"languages": ("fr-CA",)}, {"pairs": ("fr-CA:en",)}):
        assert [c.name for c in read_collections("bitext", tmp_path, both.override(options))] == ["fra-CA-en"]
    for code in ("fr", "fra", "fr-FR"):
        assert [c.name for c in read_collections("bitext", tmp_path, both.override({"languages": [code]}))] == ["fr-en"]


def test_a_retired_code_stands_beside_its_successor(tmp_path):
    for code in ("dtp", "kzj"):  # the 112 files of LASER have both; standards say that kzj is dtp
        write_text(tmp_path / f"tatoeba.{code}-eng.eng", "Come.")
        write_text(tmp_path / f"tatoeba.{code}-eng.{code}", "Kadai.")
    options = FormatOptions(directions=("en-xx",))
    assert [(c.name, c.documents.languages) for c in read_collections("tatoeba", tmp_path, options)] == [
        ("en-dtp", ("dtp",)),
        ("en-kzj", ("dtp",)),
    ]


def test_files_of_unknown_languages_matter_only_where_all_are_read(parallel):
    write_bitext(parallel, "qq-nope", ["Go."], ["?"])
    with pytest.raises(DataError, match="'qq-nope' is no language code.*name languages"):
        read_collections("bitext", parallel)
    assert len(read_collections("bitext", parallel, FormatOptions(languages=("sw",)))) == 2
    assert read_collections("bitext", parallel, FormatOptions(on_bad="skip"))[0].skipped == {"file of an unknown language": 1}


def test_languages_without_a_sentence_in_common_are_not_parallel(parallel):
    write_bitext(parallel, "hau", ["Other."], ["Wani."])
    with pytest.raises(DataError, match="no English sentence in common, so they are not parallel"):
        read_collections("bitext", parallel, FormatOptions(pairs=("ha:sw",)))
    with pytest.raises(DataError, match="sw:sw: a language does not ask for itself"):
        read_collections("bitext", parallel, FormatOptions(pairs=("sw:swh",)))


def test_limits_keep_what_is_relevant(parallel):
    options = FormatOptions(languages=("sw",), directions=("xx-en",), max_queries=1, max_documents=1)
    [kept] = read_collections("bitext", parallel, options)
    assert kept.queries.ids == ("sw-1",) and list(all_texts(kept.documents)) == ["en-1"]
    assert kept.skipped == {"query beyond --limit (max_queries)": 2}


def test_a_built_corpus_asks_its_held_out_rows(tmp_path):
    english = [f"{s} {v} {o}" for s in SUBJECTS for v in VERBS for o in OBJECTS]
    write_bitext(tmp_path / "source", "swh", english, [translate(text, "sw") for text in english])
    config = CorpusConfig(sources=(str(tmp_path / "source"),), min_pairs=10).override({"cleaning.near_duplicates": "off"})
    corpus = build_corpus(Store(tmp_path / "store"), config)
    for split in ("valid", "test"):
        [held] = read_collections("bitext", corpus.folder, FormatOptions(directions=("xx-en",), split=split))
        rows = corpus.rows("sw", split).to_pydict()
        assert held.split == split and held.queries.texts == tuple(rows["text"]) and len(held.queries) == corpus.pairs(split)["sw"]
        assert [text for _, text in all_texts(held.documents).values()] == rows["english"]
        check_contract(held)


def test_folders_that_cannot_be_read_are_told(tmp_path):
    with pytest.raises(DataError, match=r"no folder lang=<code> in it; bitext reads"):
        read_collections("bitext", tmp_path)
    write_table(tmp_path / "lang=swh" / "part-0.parquet", text=["Njoo."])
    with pytest.raises(DataError, match="has columns text; expected english and text"):
        read_collections("bitext", tmp_path)
    with pytest.raises(DataError, match=r"no file of language 'ha' \(there are sw\)"):
        read_collections("bitext", tmp_path, FormatOptions(languages=("ha",)))


def test_english_alone_makes_no_pair(tatoeba):
    with pytest.raises(ConfigError, match="languages en: English alone makes no pair"):
        read_collections("tatoeba", tatoeba, FormatOptions(languages=("en",)))
