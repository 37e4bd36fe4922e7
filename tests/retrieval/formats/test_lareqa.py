"""XQuAD-R by hand: three languages, offsets counted on the characters as they are stored."""

import json
import unicodedata

import pytest
from retrieval.formats.released import all_texts, check_contract, relevant, write_table, write_text

from optical_ray.errors import DataError
from optical_ray.retrieval.formats.options import FormatOptions
from optical_ray.retrieval.formats.read import read_collections

#          0         1         2         3
#          0123456789012345678901234567890123456789
ENGLISH = "Ann has a cat. Ann has a cat. Bob sings."
ENGLISH_BREAKS = [[0, 14], [15, 29], [30, 40]]
ARABIC = "عند آن قطة. عند آن قطة. بوب يغني."
THAI = "แอนมีแมว แอนมีแมว บ๊อบร้องเพลง"


def breaks(context: str, *sentences: str) -> list[list[int]]:
    found, at = [], 0
    for sentence in sentences:
        at = context.index(sentence, at)
        found.append([at, at + len(sentence)])
        at += len(sentence)
    return found


def paragraph(context: str, spans: list[list[int]], *questions: tuple[str, str, int | None]) -> dict:
    qas = [{"id": i, "question": q, "answers": [] if at is None else [{"answer_start": at, "text": context[at]}]} for i, q, at in questions]
    return {"context": context, "sentence_breaks": spans, "sentences": [context[a:b] for a, b in spans], "qas": qas}


def write(folder, code, *paragraphs):
    folder.mkdir(parents=True, exist_ok=True)
    return write_text(folder / f"{code}.json", json.dumps({"data": [{"title": "one", "paragraphs": list(paragraphs)}]}))


@pytest.fixture
def xquad(tmp_path):
    folder = tmp_path / "xquad-r"
    second = "No one asks.\nNothing here."
    write(
        folder,
        "en",
        paragraph(ENGLISH, ENGLISH_BREAKS, ("cat", "Who has a cat?", 15), ("song", "Who sings?", 30), ("never", "Who dances?", None)),
        paragraph(second, [[0, 12], [13, 26]], ("gap", "What lies between?", 12)),
        paragraph("Line one\nend. Two.", [[0, 13], [14, 18]], ("line", "Which line?", 5)),
    )
    arabic, thai = breaks(ARABIC, *ARABIC.replace(". ", ".|").split("|")), breaks(THAI, *THAI.split())
    write(folder, "ar", paragraph(ARABIC, arabic, ("cat", "من عنده قطة؟", 0), ("song", "من يغني؟", arabic[2][0] + 4)))
    write(folder, "th", paragraph(THAI, thai, ("cat", "ใครมีแมว", thai[0][0]), ("song", "ใครร้องเพลง", thai[2][1] - 1)))
    return tmp_path


def test_every_language_holds_a_relevant_sentence_and_repeated_ones_count(xquad):
    [pool] = read_collections("lareqa", xquad)
    check_contract(pool)
    cat = {f"{code}_1_{place}" for code in ("en", "ar", "th") for place in (0, 1)}  # the sentence stands twice in each paragraph
    song = {"en_1_2", "ar_1_2", "th_1_2"}
    assert relevant(pool) == {
        **{f"cat_{code}": cat for code in ("en", "ar", "th")},
        **{f"song_{code}": song for code in ("en", "ar", "th")},
        "line_en": {"en_3_0"},
    }
    assert pool.queries.ids == ("cat_ar", "song_ar", "cat_en", "song_en", "line_en", "cat_th", "song_th")
    assert pool.queries.clusters == ("cat", "song", "cat", "song", "line", "cat", "song")
    assert pool.queries.languages == ("ar", "ar", "en", "en", "en", "th", "th")


def test_candidates_are_sentence_and_paragraph_in_one_string(xquad):
    [pool] = read_collections("lareqa", xquad)
    texts = all_texts(pool.documents)
    assert len(texts) == 3 * 3 + 2  # the paragraph of the gap is in nobody's answer, so none of its sentences competes
    assert texts["en_1_2"] == ("en", "Bob sings." + ENGLISH)
    assert texts["en_3_0"] == ("en", "Line oneend.Line oneend. Two.")
    assert texts["ar_1_0"] == ("ar", "عند آن قطة." + ARABIC) and texts["th_1_1"] == ("th", "แอนมีแมว" + THAI)


def test_questions_without_an_answer_are_left_out_and_counted(xquad):
    [pool] = read_collections("lareqa", xquad)
    assert pool.skipped == {"question whose answer is in no sentence": 1, "unanswerable question": 1}


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_offsets_count_characters_as_they_are_stored(tmp_path, form):
    context = unicodedata.normalize(form, "Phở rất ngon. Bún cũng ngon.")
    spans = breaks(context, *context.replace(". ", ".|").split("|"))
    start = context.index("B")
    assert (start == 14) == (form == "NFC")
    write(tmp_path, "vi", paragraph(context, spans, ("q", "Món gì?", start)))
    [pool] = read_collections("lareqa", tmp_path)
    assert relevant(pool) == {"q_vi": {"vi_1_1"}}
    assert all_texts(pool.documents)["vi_1_1"][1] == context[start:] + context


def test_ids_are_the_benchmark_s_own(tmp_path):
    write(tmp_path, "zh", paragraph("鲍勃唱歌。", [[0, 5]], ("q", "谁唱歌？", 0)))
    [pool] = read_collections("lareqa", tmp_path)
    assert all_texts(pool.documents) == {"zh_1_0": ("zh-Hans", "鲍勃唱歌。鲍勃唱歌。")} and relevant(pool) == {"q_zh": {"zh_1_0"}}
    assert pool.queries.languages == ("zh-Hans",)


def test_an_answer_with_several_places_has_several_relevant_sentences(tmp_path):
    several = paragraph(ENGLISH, ENGLISH_BREAKS, ("q", "What?", 0))
    several["qas"][0]["answers"].append({"answer_start": 31, "text": "ob"})
    write(tmp_path, "en", several)
    [pool] = read_collections("lareqa", tmp_path)
    assert relevant(pool) == {"q_en": {"en_1_0", "en_1_1", "en_1_2"}}


def test_languages_choose_questions_and_candidates(xquad):
    [pool] = read_collections("lareqa", xquad, FormatOptions(languages=("ara", "eng")))
    assert set(pool.queries.languages) == {"ar", "en"} == set(pool.documents.languages)
    assert relevant(pool)["song_en"] == {"en_1_2", "ar_1_2"}
    with pytest.raises(DataError, match=r"no file of language 'de' \(there are ar, en, th\); fetch .*google-research-datasets/lareqa"):
        read_collections("lareqa", xquad, FormatOptions(language_set="xtreme-r"))
    [kept] = read_collections("lareqa", xquad, FormatOptions(language_set="xtreme-r", on_bad="skip"))
    assert kept.skipped["language without a file"] == 8


def test_withheld_labels_are_told(xquad):
    write(xquad / "xquad-r", "ar", paragraph(ARABIC, breaks(ARABIC, ARABIC), ("cat", "من؟", None), ("song", "من؟", None)))
    with pytest.raises(DataError, match=r"ar\.json: none of its 2 questions has an answer; fetch the file with answers"):
        read_collections("lareqa", xquad)
    [kept] = read_collections("lareqa", xquad, FormatOptions(on_bad="skip"))
    assert kept.skipped["question whose answer is withheld"] == 2 and "ar" not in kept.documents.languages


def test_a_file_cut_short_is_named_with_its_line(xquad):
    path = xquad / "xquad-r" / "en.json"
    text = json.dumps(json.loads(path.read_text()), indent=1)
    path.write_text(text[: text.index('"qas"')])
    line = text[: text.index('"qas"')].count("\n") + 1
    with pytest.raises(DataError, match=rf"en\.json, line {line}: not JSON .*fetch the file again"):
        read_collections("lareqa", xquad)
    path.write_bytes(b'{"data":\n"\xff"}')
    with pytest.raises(DataError, match=r"en\.json, line 2: byte 0xff is not UTF-8"):
        read_collections("lareqa", xquad)
    path.write_text("[]")
    with pytest.raises(DataError, match="no list `data`"):
        read_collections("lareqa", xquad)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p.pop("sentence_breaks"), "no sentence_breaks, so this is XQuAD and not XQuAD-R"),
        (lambda p: p["sentence_breaks"].append([30, 400]), r"sentence break \[30, 400\] does not fit the paragraph of 40 characters"),
        (lambda p: p["qas"][0]["answers"][0].pop("answer_start"), "has no answer_start"),
        (lambda p: p["qas"][0].pop("id"), "no id"),
        (lambda p: p.pop("context"), "no context"),
    ],
)
def test_a_bad_paragraph_is_refused_or_left_out_whole(tmp_path, change, message):
    good, bad = (paragraph(ENGLISH, [list(span) for span in ENGLISH_BREAKS], (name, "Who?", 30)) for name in ("good", "bad"))
    change(bad)
    write(tmp_path, "en", good, bad)
    with pytest.raises(DataError, match=rf"en\.json, paragraph 2: .*{message}"):
        read_collections("lareqa", tmp_path)
    [kept] = read_collections("lareqa", tmp_path, FormatOptions(on_bad="skip"))
    assert kept.queries.ids == ("good_en",) and len(kept.documents) == 3 and sum(kept.skipped.values()) == 1


def test_missing_files_are_told_with_their_source(tmp_path):
    with pytest.raises(
        DataError, match=r"no file <lang>.json in it; lareqa reads .*fetch https://github.com/google-research-datasets/lareqa"
    ):
        read_collections("lareqa", tmp_path)


def test_tables_of_sentences_and_paragraphs_are_joined_alike(tmp_path):
    write_table(tmp_path / "queries.parquet", query_id=["q_en", "q_th"], lang=["en", "th"], text=["Who?", "ใคร"], xling_id=["q", "q"])
    write_table(
        tmp_path / "corpus.parquet",
        doc_id=["en_1_0", "th_1_0"],
        lang=["en", "th"],
        text=["Bob.", "บ๊อบ"],
        context_id=["en_1", "th_1"],
        context=["Ann.\nBob.", "บ๊อบ แอน"],
    )
    pairs = [("q_en", "en_1_0"), ("q_en", "th_1_0"), ("q_th", "en_1_0"), ("q_th", "th_1_0")]
    write_table(tmp_path / "qrels.parquet", query_id=[q for q, _ in pairs], doc_id=[d for _, d in pairs], relevance=[1] * 4)
    [pool] = read_collections("lareqa", tmp_path)
    assert all_texts(pool.documents) == {"en_1_0": ("en", "Bob.Ann.Bob."), "th_1_0": ("th", "บ๊อบบ๊อบ แอน")}
    assert pool.queries.clusters == ("q", "q") and relevant(pool)["q_th"] == {"en_1_0", "th_1_0"}


def test_a_repeated_question_does_not_lend_its_answers_to_the_first(tmp_path):
    folder = tmp_path / "xquad-r"
    write(folder, "en", paragraph(ENGLISH, ENGLISH_BREAKS, ("cat", "Who has a cat?", 15), ("cat", "Who sings?", 30)))
    with pytest.raises(DataError, match="cat_en"):
        read_collections("lareqa", tmp_path)
    [pool] = read_collections("lareqa", tmp_path, FormatOptions(on_bad="skip"))
    assert pool.queries.ids == ("cat_en",)
    assert relevant(pool) == {"cat_en": {"en_1_0", "en_1_1"}}


def test_answers_that_are_no_list_are_a_bad_paragraph(tmp_path):
    broken = paragraph(ENGLISH, ENGLISH_BREAKS, ("cat", "Who has a cat?", 15))
    broken["qas"][0]["answers"] = 5
    write(tmp_path / "xquad-r", "en", broken)
    with pytest.raises(DataError, match="paragraph 1: the answers of question cat are no list"):
        read_collections("lareqa", tmp_path)
