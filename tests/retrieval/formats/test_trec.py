import gzip

import pytest
from retrieval.formats.released import all_texts, check_contract, write_jsonl, write_text

from optical_ray.errors import DataError
from optical_ray.retrieval.formats.options import FormatOptions
from optical_ray.retrieval.formats.read import read_collections
from optical_ray.retrieval.formats.skips import Skips
from optical_ray.retrieval.formats.tab_lines import judgement_lines

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


@pytest.mark.parametrize("line", ["q1 0 d1 NaN", "q1 0 d1 1.0", "q1\td1\tNaN", "q1 0 d1 1 x"])
def test_a_bad_first_judgement_is_no_header(line, tmp_path):
    skips = Skips()
    write_text(tmp_path / "qrels", line, "q1 0 d2 1")
    with pytest.raises(DataError, match="line 1: found"):
        list(judgement_lines(tmp_path / "qrels", skips))
    write_text(tmp_path / "qrels", "query-id\tcorpus-id\tscore", "q1\td2\t1")
    assert [(judged.query, judged.document, judged.grade) for judged in judgement_lines(tmp_path / "qrels", skips)] == [("q1", "d2", 1)]
