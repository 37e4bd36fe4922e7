"""References equal what a plain loop, or the library at once, gives; whatever the blocks."""

import math
from collections import Counter

import numpy as np
import pytest
from retrieval.searches import ListedDocuments, cut_blocks, make_queries, whole_block

from optical_ray.errors import DataError
from optical_ray.retrieval.references import tfidf_scores
from optical_ray.retrieval.systems.bm25 import K1, B, Bm25System, split_words
from optical_ray.retrieval.systems.lexical import LexicalSystem
from optical_ray.retrieval.systems.shuffle import RandomSystem
from optical_ray.retrieval.systems.translation import TranslatedSystem, read_translations, translate

QUERIES = make_queries(
    [("1", "fr", "le livre rouge de Marie"), ("2", "sw", "nyumba ndogo"), ("3", "th", "หนังสือเล่มใหม่"), ("4", "en", "zzz")]
)
DOCUMENTS = ListedDocuments(
    [
        ("a", "en", "Marie reads the red book, the red one"),
        ("b", "fr", "un livre rouge"),
        ("c", "sw", ["nyumba kubwa", "nyumba ndogo ya rangi"]),
        ("d", "th", "หนังสือเล่มเก่า"),
        ("e", "en", "..."),
        ("f", "ar", "كتاب أحمر"),
    ]
)
PASSAGES = [passage for *_, passages in DOCUMENTS.rows for passage in passages]
OWNERS = [0, 1, 2, 2, 3, 4, 5]


def by_document(scores_QP):
    return np.stack(
        [np.max(np.asarray(scores_QP)[:, [p for p, owner in enumerate(OWNERS) if owner == place]], axis=1) for place in range(6)], 1
    )


def scores_in_blocks(system, size, monkeypatch):
    cut_blocks(monkeypatch, size)
    scorer = system.prepare(QUERIES, DOCUMENTS)
    return np.concatenate([scorer.scores(block)[system.scorers[0]] for block in DOCUMENTS.blocks()], axis=1)


@pytest.mark.parametrize("size", [1, 4, 100])
def test_the_lexical_floor_is_the_one_that_trials_report(size, monkeypatch):
    expected = by_document(tfidf_scores(QUERIES.texts, PASSAGES).numpy())
    np.testing.assert_allclose(scores_in_blocks(LexicalSystem(), size, monkeypatch), expected, atol=1e-6)


@pytest.mark.parametrize("size", [1, 4, 100])
def test_bm25_is_the_sum_that_its_formula_says(size, monkeypatch):
    words = [split_words(passage) for passage in PASSAGES]
    length = np.mean([len(part) for part in words])
    expected = np.zeros((4, len(words)))
    for q, text in enumerate(QUERIES.texts):
        for p, part in enumerate(words):
            for word in split_words(text):
                having = sum(word in other for other in words)
                count = Counter(part)[word]
                idf = math.log(1 + (len(words) - having + 0.5) / (having + 0.5))
                expected[q, p] += idf * count / (count + K1 * (1 - B + B * len(part) / length)) if count else 0.0
    found = scores_in_blocks(Bm25System(), size, monkeypatch)
    np.testing.assert_allclose(found, by_document(expected), rtol=1e-5)
    assert found[0].argmax() == 1 and found[1].argmax() == 2 and found[2].argmax() == 3
    assert not found[3].any()  # no word of it occurs


def test_words_are_casefolded_and_unspaced_scripts_fall_into_pairs():
    assert split_words("Straße, l'ÉTÉ 2024!") == ["strasse", "l", "été", "2024"]
    assert split_words("東京は大 AI") == ["東京", "京は", "は大", "ai"]
    assert split_words("書") == ["書"]
    assert split_words("หนัง ab") == ["หน", "นั", "ัง", "ab"]
    assert split_words("हिन्दी भाषा") == ["हिन्दी", "भाषा"]  # marks stay with their letters
    assert split_words("...") == []


def test_documents_without_a_single_word_score_nothing():
    scorer = Bm25System().prepare(QUERIES, ListedDocuments([("a", "en", "..."), ("b", "en", "?")]))
    assert not scorer.scores(whole_block(ListedDocuments([("a", "en", "..."), ("b", "en", "?")])))["bm25"].any()


def test_a_random_order_depends_on_seed_and_ids_alone(monkeypatch):
    one, other = (scores_in_blocks(RandomSystem(), size, monkeypatch) for size in (1, 100))
    np.testing.assert_array_equal(one, other)
    assert (one != scores_in_blocks(RandomSystem(seed=1), 100, monkeypatch)).all()
    assert len(np.unique(one)) == one.size


def test_a_random_order_finds_what_chance_finds():
    queries = make_queries([(str(q), "en", "x") for q in range(2000)])
    documents = ListedDocuments([(str(d), "en", "x") for d in range(20)])
    scores = RandomSystem().prepare(queries, documents).scores(whole_block(documents))["random"]
    assert np.mean(scores.argmax(1) == 3) == pytest.approx(1 / 20, abs=0.02)  # four standard errors
    np.testing.assert_allclose(scores * 2**20, np.rint(scores * 2**20))  # nothing that a ranker's rounding makes equal


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("t.tsv", "1\tthe red book of Marie\n2\tsmall house\n\n3\tthe new book\n"),
        ("t.tsv", "fra\t1\tthe red book of Marie\nswa\t2\tsmall house\nth\t3\tthe new book\n"),
        (
            "t.jsonl",
            '{"id": 1, "english": "the red book of Marie"}\n{"id": "2", "text": "small house", "language": "sw"}\n'
            '{"id": "3", "translation": "the new book"}\n',
        ),
    ],
)
def test_translated_queries_are_asked_in_english_and_english_ones_stay(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    translations = read_translations(tmp_path / name)
    found = translate(QUERIES, translations, "t")
    assert found.texts == ("the red book of Marie", "small house", "the new book", "zzz")
    assert set(found.languages) == {"en"} and found.ids == QUERIES.ids
    system = TranslatedSystem("translated-bm25", Bm25System(), translations, "t")
    assert system.prepare(QUERIES, DOCUMENTS).scores(whole_block(DOCUMENTS))["bm25"][0].argmax() == 0


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("t.tsv", "1 the red book\n", "line 1: 1 columns, expected 2"),
        ("t.tsv", "1\t \n", "line 1: the translation of query '1' is empty"),
        ("t.tsv", "1\tone\n1\ttwo\n", "line 2: a second, other translation of query '1'"),
        ("t.tsv", "xxx\t1\tone\n", "line 1: 'xxx' is no language code"),
        ("t.jsonl", '{"id": 1}\n', "line 1: expected an object with `id` and `english`"),
        ("t.jsonl", "[1, 2]\n", "line 1: expected an object"),
        ("t.tsv", "\n", "holds no translation"),
    ],
)
def test_a_broken_file_of_translations_is_one_line(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=message):
        read_translations(tmp_path / name)


def test_missing_translations_are_counted_and_the_first_is_named(tmp_path):
    with pytest.raises(DataError, match=r"t.tsv: no translation of 2 of 4 queries, first '2' \(sw\); add them"):
        translate(QUERIES, {(None, "1"): "the red book"}, "t.tsv")
    with pytest.raises(DataError, match="cannot be read as translations"):
        read_translations(tmp_path / "absent.tsv")
