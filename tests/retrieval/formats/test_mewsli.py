import json

import pytest
from retrieval.formats.released import all_texts, check_contract, relevant, write_jsonl, write_text

from optical_ray.errors import DataError
from optical_ray.retrieval.formats.options import FormatOptions
from optical_ray.retrieval.formats.read import read_collections

ENTITIES = [
    ("Q1", "en", "Helsinki is a city.  It is\nthe capital. Ignored."),
    ("Q2", "ar", "أبو موسى جزيرة."),
    ("Q3", "zh", "東京。"),
]
SPANS = {"Q1": [(0, 19), (21, 40)], "Q2": [(0, 15)], "Q3": [(0, 3)]}


def entity(identity, language, description):
    spans = [{"start": a, "end": b} for a, b in SPANS[identity]]
    return {
        "entity_id": identity,
        "title": "T",
        "description": description,
        "description_language": language,
        "description_url": "u",
        "sentence_spans": spans,
    }


def article(language, text, spans, *mentions):
    context = {"document_id": "a", "document_title": "t", "document_url": "u", "language": language, "text": text}
    context["sentence_spans"] = [{"start": a, "end": b} for a, b in spans]
    made = [
        {"example_id": i, "entity_id": e, "mention_span": {"start": a, "end": a + len(m), "text": m}, "metadata": {}}
        for i, e, a, m in mentions
    ]
    return {"context": context, "mentions": made}


NEWS = "Strike\n\nIn {old} Helsinki, drivers  wait\nlong. Helsinki sleeps."


@pytest.fixture
def mewsli(tmp_path):
    write_jsonl(tmp_path / "candidate_set_entities.jsonl", *(entity(*each) for each in ENTITIES))
    spans = [(0, 6), (8, 46), (47, 63)]
    second = NEWS.rindex("Helsinki")
    write_jsonl(
        tmp_path / "wikinews_mentions-test.jsonl",
        article("en", NEWS, spans, ("m1", "Q1", 17, "Helsinki"), ("m2", "Q1", second, "Helsinki")),
        article("ar", "زار أبو موسى.", [(0, 13)], ("m3", "Q2", 4, "أبو موسى")),
        article("ja", "東京に行く。", [(0, 6)], ("m4", "Q3", 0, "東京")),
    )
    return tmp_path


def test_a_mention_asks_for_its_entity_with_the_texts_of_the_baseline(mewsli):
    [pool] = read_collections("mewsli-x", mewsli)
    check_contract(pool)
    assert NEWS[8:46] == "In {old} Helsinki, drivers  wait\nlong." and NEWS[47:63] == "Helsinki sleeps."
    assert pool.queries.texts == (
        "Helsinki: In (old) { Helsinki } , drivers wait long.",
        "Helsinki: { Helsinki } sleeps.",
        "أبو موسى: زار { أبو موسى } .",
        "東京: { 東京 } に行く。",
    )
    assert pool.queries.languages == ("en", "en", "ar", "ja")
    assert pool.queries.clusters == ("Q1", "Q1", "Q2", "Q3")
    assert relevant(pool) == {"m1": {"Q1"}, "m2": {"Q1"}, "m3": {"Q2"}, "m4": {"Q3"}}
    assert all_texts(pool.documents) == {
        "Q1": ("en", "Helsinki is a city. It is the capital."),
        "Q2": ("ar", "أبو موسى جزيرة."),
        "Q3": ("zh-Hans", "東京。"),
    }


def test_languages_choose_mentions_and_leave_all_entities(mewsli):
    [pool] = read_collections("mewsli-x", mewsli, FormatOptions(languages=("ja", "ara"), max_queries=1))
    assert pool.queries.ids == ("m3", "m4") and len(pool.documents) == 3
    with pytest.raises(DataError, match=r"no query in language de \(there are ar, en, ja\)"):
        read_collections("mewsli-x", mewsli, FormatOptions(language_set="xtreme-r"))
    [few] = read_collections("mewsli-x", mewsli, FormatOptions(languages=("ja",), max_documents=1))
    assert set(all_texts(few.documents)) == {"Q1", "Q3"}


def test_texts_that_are_still_to_be_put_in_are_told(mewsli):
    path = mewsli / "wikinews_mentions-test.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows[1]["context"]["text"] = ""
    write_jsonl(path, *rows)
    with pytest.raises(DataError, match=r"test\.jsonl, line 2: its article has no text, .*get-mewsli-x\.sh"):
        read_collections("mewsli-x", mewsli)
    path.rename(mewsli / "wikinews_mentions_no_text-test.jsonl")
    with pytest.raises(DataError, match=r"wikinews_mentions-test\.jsonl: no such file \(wikinews_mentions_no_text-test.jsonl has no texts"):
        read_collections("mewsli-x", mewsli)
    with pytest.raises(DataError, match=r"candidate_set_entities\.jsonl: no such file; mewsli-x reads"):
        read_collections("mewsli-x", mewsli / "nowhere")


@pytest.mark.parametrize(
    ("change", "message", "reason"),
    [
        (lambda row: row["mentions"][0].update(entity_id=""), "mention 'm3' has no entity_id", "question whose answer is withheld"),
        (lambda row: row["mentions"][0].update(entity_id="Q9"), "judges document 'Q9' for query 'm3'", "judgement of an unknown document"),
        (lambda row: row["mentions"][0]["mention_span"].update(start=3), "is not where its offsets say", "row that cannot be read"),
        (lambda row: row["context"].update(sentence_spans=[{"start": 0, "end": 6}]), "lies in no one sentence", "row that cannot be read"),
        (lambda row: row["context"].update(language="xx-none"), "is no language code", "row that cannot be read"),
        (lambda row: row.pop("mentions"), "no context and mentions", "row that cannot be read"),
    ],
)
def test_bad_mentions_are_refused_or_counted(mewsli, change, message, reason):
    path = mewsli / "wikinews_mentions-test.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    change(rows[1])
    write_jsonl(path, *rows)
    with pytest.raises(DataError, match=message):
        read_collections("mewsli-x", mewsli)
    [kept] = read_collections("mewsli-x", mewsli, FormatOptions(on_bad="skip"))
    assert kept.queries.ids == ("m1", "m2", "m4") and kept.skipped.pop(reason) == 1


def test_a_line_cut_short_is_named(mewsli):
    path = mewsli / "candidate_set_entities.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"candidate_set_entities\.jsonl, line 3: not JSON"):
        read_collections("mewsli-x", mewsli)
    write_text(mewsli / "wikinews_mentions-test.jsonl", '{"context": {}, "mentions": [')
    with pytest.raises(DataError, match=r"wikinews_mentions-test\.jsonl, line 1: not JSON"):
        read_collections("mewsli-x", mewsli)


def test_the_dev_set_is_the_valid_split(mewsli):
    (mewsli / "wikinews_mentions-test.jsonl").rename(mewsli / "wikinews_mentions-dev.jsonl")
    [pool] = read_collections("mewsli-x", mewsli, FormatOptions(split="valid"))
    assert pool.split == "valid" and len(pool.queries) == 4
