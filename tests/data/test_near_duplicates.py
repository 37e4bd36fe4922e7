"""Near-duplicates: what the bands find and what is judged, beside sets of trigrams compared one with every other."""

import subprocess
import sys
from collections import Counter
from itertools import combinations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optical_ray.data import near_duplicates
from optical_ray.data.building import near
from optical_ray.data.building.spill import bucket_of, deal_out, write_spill
from optical_ray.data.corpus_config import SPLITS
from optical_ray.data.near_duplicates import BANDS, RECORDS, VERDICTS, band_hashes, judge, rows_per_band, shared_bands, union
from optical_ray.data.splits import hash_keys

TRAIN, VALID, TEST = (SPLITS.index(split) for split in ("train", "valid", "test"))


def trigrams(key):
    return {key[i : i + 3] for i in range(max(1, len(key) - 2))}


def jaccard(one, other):
    one, other = trigrams(one), trigrams(other)
    return len(one & other) / len(one | other)


def records_of(keys, splits, similarity=0.8, bands=None):
    column = pa.array(keys, pa.string())
    bands = band_hashes(column, similarity) if bands is None else bands
    order = hash_keys(column, "")[1]
    repeats = bands.shape[1]
    columns = [bands.T.ravel(), np.tile(order, repeats), np.tile(np.array(splits, np.int8), repeats), pa.array(keys * repeats, pa.string())]
    return pa.table(columns, schema=RECORDS)


def in_one_group(keys, splits):
    return records_of(keys, splits, bands=np.zeros((len(keys), 1), np.uint64))


def verdicts(table):
    return {(row["key"], row["partner"]) for row in table.to_pylist()}


def corrupted(count, seed):
    """Sentences of a few words, and copies of them with some words changed."""
    rng = np.random.default_rng(seed)
    words = ["".join(rng.choice(list("aeiouklmnprst"), rng.integers(2, 9))) for _ in range(400)]
    keys = {}
    for _ in range(count):
        sentence = list(rng.choice(words, rng.integers(3, 12)))
        keys["".join(sentence)] = None
        for _ in range(rng.integers(0, 3)):
            copy = list(sentence)
            for _ in range(rng.integers(1, 3)):
                copy[rng.integers(len(copy))] = rng.choice(words)
            keys["".join(copy)] = None
            keys["".join(sentence) + rng.choice(list("aeiouklmnprst"))] = None
    return list(keys), rng.choice([TRAIN, VALID, TEST], len(keys), p=[0.7, 0.1, 0.2]).tolist()


def reference(keys, splits, similarity, mode):
    """key -> partners for whose sake it may go: every pair, one by one."""
    order = dict(zip(keys, hash_keys(pa.array(keys), "")[1].tolist(), strict=True))
    protected = sorted(range(len(keys)), key=lambda i: (-splits[i], order[keys[i]]))
    partners = {}
    for first, second in combinations(protected, 2):
        if (mode == "all" or splits[first] > splits[second]) and jaccard(keys[first], keys[second]) >= similarity:
            partners.setdefault(keys[second], set()).add(keys[first])
    return partners


@pytest.mark.parametrize("mode", ["held-out", "all"])
def test_all_that_nearly_equals_a_better_protected_sentence_goes_but_for_a_few_that_never_meet(mode):
    keys, splits = corrupted(160, seed=0)
    found = union([judge(records_of(keys, splits), 0.8, mode)])
    expected = reference(keys, splits, 0.8, mode)
    gone = {row["key"]: row for row in found.to_pylist()}
    assert len(expected) > 50
    assert set(gone) <= set(expected)
    assert len(gone) >= 0.95 * len(expected)
    for row in gone.values():
        assert row["partner"] in expected[row["key"]]
        assert row["similarity"] == jaccard(row["key"], row["partner"])


def test_in_one_group_the_verdict_is_that_of_comparing_each_with_all_that_stay():
    keys, splits = corrupted(20, seed=1)
    order = dict(zip(keys, hash_keys(pa.array(keys), "")[1].tolist(), strict=True))
    stay, gone = [], set()
    for key, _ in sorted(zip(keys, splits, strict=True), key=lambda pair: (-pair[1], order[pair[0]])):
        partner = next((other for other in stay if jaccard(key, other) >= 0.7), None)
        stay, gone = (stay, gone | {(key, partner)}) if partner else ([*stay, key], gone)
    assert len(gone) > 3
    assert verdicts(judge(in_one_group(keys, splits), 0.7, "all")) == gone


@pytest.mark.parametrize("mode", ["held-out", "all"])
def test_the_union_does_not_depend_on_the_heaps_nor_on_the_order_of_records(mode):
    keys, splits = corrupted(200, seed=2)
    records = records_of(keys, splits)
    whole = union([judge(records, 0.8, mode)])
    shuffled = records.take(np.random.default_rng(0).permutation(len(records)))
    heap = shuffled["band"].to_numpy() % 7
    heaps = [judge(shuffled.filter(pa.array(heap == i)), 0.8, mode) for i in (3, 0, 6, 1, 5, 2, 4)]
    assert len(whole) > 20
    assert union(heaps).equals(whole)
    assert union([judge(pa.concat_tables([shuffled, records]), 0.8, mode)]).equals(whole)  # a repeated record is no duplicate of itself


@pytest.mark.parametrize("most_records", [1, 7, 40, 10_000])
def test_shared_bands_are_those_of_several_records_once_each_in_parts_of_a_bounded_size(most_records):
    bands = np.random.default_rng(0).integers(0, 300, 500).astype(np.uint64)
    counts = Counter(bands.tolist())
    parts = [part.tolist() for part in shared_bands(bands.copy(), most_records)]
    assert [band for part in parts for band in part] == sorted(band for band, count in counts.items() if count > 1)
    sizes = [sum(counts[band] for band in part) for part in parts]
    assert all(size <= most_records or len(part) == 1 for size, part in zip(sizes, parts, strict=True))
    firsts = [counts[part[0]] for part in parts[1:]]
    assert all(size + first > most_records for size, first in zip(sizes[:-1], firsts, strict=True))  # no part could take the next band too
    assert shared_bands(np.arange(5, dtype=np.uint64), most_records) == shared_bands(np.zeros(0, np.uint64), most_records) == []


@pytest.mark.parametrize("at_a_time", [3, 50])
def test_judging_some_records_at_a_time_changes_no_verdict(at_a_time, tmp_path, monkeypatch):
    keys, splits = corrupted(200, seed=5)
    records = records_of(keys, splits)
    expected = np.unique(judge(records, 0.8, "held-out")["order"].to_numpy())
    assert len(expected) > 20
    for bucket, half in enumerate((records.slice(0, 900), records.slice(900))):
        write_spill(tmp_path / "near" / f"bands-{bucket:04d}.arrow", RECORDS, deal_out(half, bucket_of(half["band"].to_numpy(), 2), 2))
    monkeypatch.setattr(near, "RECORDS_AT_A_TIME", at_a_time)
    for bucket in range(2):
        near.judge_bucket({"bucket": bucket, "buckets": 2, "cleaning": {}, "folder": str(tmp_path)})
    found = np.concatenate([near.near_duplicates_of(tmp_path, bucket, 2) for bucket in range(2)])
    assert found.tolist() == expected.tolist()


def test_held_out_sentences_stay_and_nothing_goes_for_the_sake_of_its_own_split():
    keys = ["selectallpages", "selectallpage", "selectallpagess", "selectallpageo"]
    assert verdicts(judge(in_one_group(keys, [TRAIN] * 4), 0.7, "held-out")) == set()
    assert verdicts(judge(in_one_group(keys, [TEST] * 4), 0.7, "held-out")) == set()
    found = judge(in_one_group(keys[:3], [TRAIN, VALID, TEST]), 0.8, "held-out")
    assert verdicts(found) == {("selectallpages", "selectallpagess"), ("selectallpage", "selectallpagess")}
    assert len(judge(in_one_group(keys, [TRAIN] * 4), 0.7, "all")) == 3


def test_a_sentence_that_goes_takes_no_other_with_it_in_its_group():
    keys = ["selectallpages", "selectallpage", "selectallpag"]  # each nearly equals its neighbours; the first and the last do not
    columns = [[0] * 3, [1, 2, 3], [TRAIN] * 3, keys]
    found = judge(
        pa.table([pa.array(column, field.type) for column, field in zip(columns, RECORDS, strict=True)], schema=RECORDS), 0.9, "all"
    )
    assert jaccard(keys[0], keys[2]) < 0.9 < min(jaccard(keys[0], keys[1]), jaccard(keys[1], keys[2]))
    assert verdicts(found) == {("selectallpage", "selectallpages")}


def test_a_sentence_below_the_threshold_stays():
    one, other = "abcdefghij", "abcdefghxyz"  # 6 common trigrams of 8 and 9: 6 / 11
    assert jaccard(one, other) == 6 / 11
    assert len(judge(in_one_group([one, other], [TEST, TRAIN]), 6 / 11, "held-out")) == 1
    assert len(judge(in_one_group([one, other], [TEST, TRAIN]), 6 / 11 + 1e-9, "held-out")) == 0


@given(st.lists(st.text(st.sampled_from("abनé𐐀"), max_size=6), min_size=2, max_size=6, unique=True))
@settings(deadline=None)  # the first one compiles
def test_similarity_is_that_of_sets_of_three_characters_whatever_the_script(keys):
    found = judge(in_one_group(keys, [TEST] + [TRAIN] * (len(keys) - 1)), 0.01, "held-out")
    similarity = {row["key"]: row["similarity"] for row in found.to_pylist()}
    assert similarity == {key: jaccard(keys[0], key) for key in keys[1:] if jaccard(keys[0], key) >= 0.01 and keys[0] and key}


def test_a_large_group_costs_a_bounded_number_of_comparisons(monkeypatch):
    rng = np.random.default_rng(0)
    keys = ["".join(rng.choice(list("abcdefghijklmnop"), 12)) for _ in range(300)]
    records = in_one_group([*keys, keys[0] + "x"], [TEST] * 300 + [TRAIN])
    monkeypatch.setattr(near_duplicates, "MAX_COMPARISONS", 300)
    assert verdicts(judge(records, 0.8, "held-out")) == {(keys[0] + "x", keys[0])}
    position = sorted(hash_keys(pa.array(keys), "")[1].tolist()).index(hash_keys(pa.array(keys[:1]), "")[1][0])
    monkeypatch.setattr(near_duplicates, "MAX_COMPARISONS", position)  # it would be the next
    assert verdicts(judge(records, 0.8, "held-out")) == set()
    monkeypatch.setattr(near_duplicates, "MAX_COMPARISONS", position + 1)
    assert verdicts(judge(records, 0.8, "held-out")) == {(keys[0] + "x", keys[0])}


@pytest.mark.parametrize("similarity", [0.6, 0.7, 0.8, 0.9, 0.95])
def test_bands_are_as_long_as_the_recall_at_the_threshold_allows(similarity):
    def recall(rows):
        return 1 - (1 - similarity**rows) ** BANDS

    assert recall(rows_per_band(similarity)) >= 0.95 > recall(rows_per_band(similarity) + 1)


@pytest.mark.parametrize(("shared", "total"), [(60, 60), (54, 60), (48, 60), (36, 60), (24, 60)])
def test_two_keys_meet_as_often_as_the_s_curve_says(shared, total):
    alphabet = [chr(code) for code in range(0x4E00, 0x9000)]
    rng = np.random.default_rng(0)
    met = 0
    for _ in range(400):
        common, own = rng.choice(alphabet, shared + 2), rng.choice(alphabet, total - shared)
        one, other = "".join(common) + "".join(own[: len(own) // 2]), "".join(common) + "".join(own[len(own) // 2 :])
        hashes = band_hashes(pa.array([one, other]), 0.8)
        met += bool((hashes[0] == hashes[1]).any())
    expected = 1 - (1 - (shared / total) ** rows_per_band(0.8)) ** BANDS
    assert met / 400 == pytest.approx(expected, abs=4 * (expected * (1 - expected) / 400) ** 0.5 + 1e-12)


def test_hashes_of_different_bands_never_meet():
    hashes = band_hashes(pa.array(["selectall", "deleteall", "ab", ""]), 0.8)
    assert len(np.unique(hashes)) == hashes.size


def test_signatures_are_the_same_in_every_process():
    code = (
        "import pyarrow as pa\nfrom optical_ray.data.near_duplicates import band_hashes\n"
        "print(band_hashes(pa.array(['selectall']), 0.8).tolist())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": "7"})
    assert done.stdout.strip() == str(band_hashes(pa.array(["selectall"]), 0.8).tolist())


def test_nothing_is_judged_to_nothing():
    assert judge(RECORDS.empty_table(), 0.8, "all").equals(VERDICTS.empty_table())
    assert union([]).equals(VERDICTS.empty_table())
