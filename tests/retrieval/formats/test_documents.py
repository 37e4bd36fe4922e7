import pickle

import pytest

from optical_ray.retrieval.collection import BLOCK_DOCUMENTS
from optical_ray.retrieval.formats.documents import InMemoryDocuments, PassageDocuments, cut_passages


@pytest.fixture
def many() -> InMemoryDocuments:
    count = 2 * BLOCK_DOCUMENTS + 3
    return InMemoryDocuments(
        [f"d{i}" for i in range(count)], ["sw" if i % 2 else "en" for i in range(count)], [f"text {i}" for i in range(count)]
    )


def test_blocks_are_cut_by_the_one_rule_and_any_stretch_of_them_can_be_read_alone(many):
    whole = list(many.blocks())
    assert [len(block) for block in whole] == [BLOCK_DOCUMENTS, BLOCK_DOCUMENTS, 3]
    assert whole[2].ids == ("d8192", "d8193", "d8194") and whole[2].passages[0] == "text 8192"
    assert [block.ids for block in many.blocks(1, 2)] == [whole[1].ids]
    assert [block.ids for block in many.blocks(1, 99)] == [whole[1].ids, whole[2].ids]
    assert many.languages == ("en", "sw")
    assert many.places(frozenset({"d8193", "d0", "x"})) == {"d8193": 8193, "d0": 0}


def test_a_copy_that_travelled_is_the_same(many):
    copy = pickle.loads(pickle.dumps(many))
    assert copy.fingerprint == many.fingerprint and [b.ids for b in copy.blocks()] == [b.ids for b in many.blocks()]


@pytest.mark.parametrize(
    "other",
    [
        (["a", "b"], ["en", "en"], ["one", "twox"]),
        (["a", "b"], ["en", "sw"], ["one", "two"]),
        (["b", "a"], ["en", "en"], ["one", "two"]),
        (["a", "b"], ["en", "en"], ["two", "one"]),
        (["ab", ""], ["en", "en"], ["one", "two"]),
    ],
    ids=["text", "language", "order of ids", "order of texts", "where one field ends"],
)
def test_fingerprint_names_contents_and_order(other):
    assert InMemoryDocuments(*other).fingerprint != InMemoryDocuments(["a", "b"], ["en", "en"], ["one", "two"]).fingerprint


def test_ids_that_come_twice_are_no_documents():
    with pytest.raises(ValueError, match="twice"):
        InMemoryDocuments(["a", "a"], ["en", "en"], ["one", "two"])
    with pytest.raises(ValueError, match="1 ids, 2 languages"):
        InMemoryDocuments(["a"], ["en", "en"], ["one"])


def test_passages_are_windows_of_words_that_keep_the_text_as_it_is():
    assert cut_passages("a  b\nc d e", 2, 0) == ["a  b", "c d", "e"]
    assert cut_passages("a b c d e", 3, 1) == ["a b c", "c d e"]
    assert cut_passages("a b c d e f", 3, 1) == ["a b c", "c d e", "e f"]
    assert cut_passages(" a b ", 2, 0) == [" a b "]
    assert cut_passages("", 2, 0) == [""]


def test_scripts_without_spaces_are_cut_into_words_of_two_or_five_characters():
    assert cut_passages("我喜欢吃苹果", 2, 0) == ["我喜欢吃", "苹果"]
    assert cut_passages("ที่นี่มีแมว", 1, 0) == ["ที่นี่มีแม", "ว"]  # five letters, each with its marks
    assert cut_passages("ja, 我们 ok", 2, 0) == ["ja, 我们", "ok"]


@pytest.mark.parametrize(("words", "overlap"), [(1, 0), (3, 0), (3, 2), (5, 1)])
def test_every_word_is_in_a_passage_and_no_passage_is_inside_another(words, overlap):
    for count in range(1, 24):
        pieces = [piece.split() for piece in cut_passages(" ".join(map(str, range(count))), words, overlap)]
        assert max(map(len, pieces)) <= words
        assert [word for at, piece in enumerate(pieces) for word in (piece if at == 0 else piece[overlap:])] == list(map(str, range(count)))
        assert all(len(piece) > overlap for piece in pieces[1:])


def test_passages_belong_to_their_documents():
    whole = InMemoryDocuments(["a", "b"], ["en", "sw"], ["one two three", "moja"])
    passages = PassageDocuments(whole, 2)
    [block] = passages.blocks()
    assert block.passages == ("one two", "three", "moja") and block.owner.tolist() == [0, 0, 1]
    assert len(passages) == 2 and passages.languages == ("en", "sw") and passages.places(frozenset("b")) == {"b": 1}
    names = {whole.fingerprint, passages.fingerprint, PassageDocuments(whole, 3).fingerprint, PassageDocuments(whole, 2, 1).fingerprint}
    assert len(names) == 4
    assert pickle.loads(pickle.dumps(passages)).fingerprint == passages.fingerprint
    assert PassageDocuments(passages, 1).fingerprint and [b.owner.tolist() for b in PassageDocuments(passages, 1).blocks()] == [
        [0, 0, 0, 1]
    ]


@pytest.mark.parametrize(("words", "overlap"), [(0, 0), (2, 2), (2, -1)])
def test_a_window_that_does_not_move_is_refused(words, overlap):
    with pytest.raises(ValueError, match="expected at least 1 word"):
        PassageDocuments(InMemoryDocuments(["a"], ["en"], ["x"]), words, overlap)
