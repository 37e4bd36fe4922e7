"""Real data sets, where they are at hand, against what was counted in them by other means."""

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from retrieval.formats.released import SHARED, check_contract

from optical_ray.retrieval.formats.options import FormatOptions
from optical_ray.retrieval.formats.read import read_collections

pytestmark = pytest.mark.skipif(not SHARED.is_dir(), reason=f"no data sets at {SHARED}")


def test_lareqa_of_four_languages():
    [pool] = read_collections("lareqa", SHARED / "retrieval" / "lareqa_dev12")
    check_contract(pool)
    assert len(pool.queries) == 1132 and len(pool.documents) == 1257 and pool.name == "all"
    assert {len(graded) for graded in pool.qrels.values()} == {4} and len(set(pool.queries.clusters)) == 1132 // 4
    assert set(pool.queries.languages) == set(pool.documents.languages) == {"de", "en", "es", "ru"} and not pool.skipped


def test_afriqa_in_its_split():
    [found] = read_collections("parquet", SHARED / "retrieval" / "afriqa", FormatOptions(split="valid"))
    check_contract(found)
    table = pq.ParquetFile(SHARED / "retrieval" / "afriqa" / "queries.parquet").read()
    assert len(found.queries) == pc.sum(pc.equal(table["split"], "dev")).as_py() == 1175
    assert len(found.documents) == 2143 and {len(graded) for graded in found.qrels.values()} == {1}


def test_ntrex_headlines_in_one_language_share_their_clusters():
    options = FormatOptions(languages=("ha", "am"))
    [found] = read_collections("parquet", SHARED / "retrieval" / "ntrex_headline_a", options)
    hausa, amharic = (
        [c for c, tag in zip(found.queries.clusters, found.queries.languages, strict=True) if tag == own] for own in ("ha", "am")
    )
    assert len(found.documents) == 224 and sorted(hausa) == sorted(amharic) and len(set(hausa)) == len(hausa) > 60


def test_ntrex_in_every_direction():
    options = FormatOptions(languages=("ha", "am", "zh"), directions=("xx-en", "en-xx", "xx-yy"))
    collections = read_collections("bitext", SHARED / "bitext" / "ntrex_a", options)
    assert len(collections) == 3 + 3 + 6
    assert {(len(c.queries), len(c.documents), len(c.qrels)) for c in collections} == {(1118, 1118, 1118)}
    hausa, amharic = (next(c for c in collections if c.name == name) for name in ("ha-en", "am-en"))
    assert hausa.queries.clusters == amharic.queries.clusters


def test_tatoeba_of_one_language_in_both_directions():
    collections = read_collections("tatoeba", SHARED / "bitext" / "tatoeba", FormatOptions(languages=("am",)))
    assert [(c.name, len(c.queries), len(c.documents)) for c in collections] == [("am-en", 168, 168), ("en-am", 168, 168)]
    assert all(len(graded) == 1 for c in collections for graded in c.qrels.values())
    assert len(set(collections[0].queries.clusters)) == 167  # two lines differ in punctuation alone


def test_long_documents_are_cut_into_passages():
    whole, cut = (
        read_collections("parquet", SHARED / "retrieval" / "qed_en", FormatOptions(passage_words=words, passage_overlap=words // 4))[
            0
        ].documents
        for words in (0, 40)
    )
    [block], [passages] = whole.blocks(), cut.blocks()
    assert len(whole) == len(cut) == len(block.passages) < len(passages.passages) and passages.ids == block.ids
    assert max(len(passage.split()) for passage in passages.passages) <= 40
