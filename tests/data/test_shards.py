"""One language: raw rows -> its shard."""

import itertools
import json
import pickle
import random

import pyarrow.parquet as pq
import pytest

from optical_ray.data.cleaning import CleaningConfig
from optical_ray.data.shards import SHARD, build_language
from optical_ray.data.splits import SplitConfig, assign_split

ROWS = [(f"This is sentence number {i}", f"Hii ni sentensi ya {i} kabisa") for i in range(60)]


def task(files, out, tag="sw", **changes):
    parts = [{"path": str(path), "code": code, "source": source} for path, code, source in files]
    plain = {"cleaning": CleaningConfig().to_dict(), "split": SplitConfig().to_dict(), "min_pairs": 1, "folder": str(out)}
    return {"tag": tag, "reader": "parquet", "parts": parts, **plain, **changes}


@pytest.fixture
def part(bitext, tmp_path):
    """Writes rows as a source file; gives what `task` takes."""

    def write(name, rows):
        return bitext(tmp_path / name, {"swa": rows}) / "lang=swa" / "part-0.parquet", "swa", name

    return write


def read(out, tag="sw"):
    return pq.ParquetFile(out / f"lang={tag}" / "part-0.parquet").read()


def test_a_shard_holds_the_clean_rows_with_split_source_and_lengths(part, tmp_path):
    rows = [*ROWS, ("Sign in", "Ingia"), ("Delete %s from here", "Futa %s kutoka hapa")]
    summary = build_language(task([part("mine", rows)], tmp_path / "out"))
    table = read(tmp_path / "out")
    assert table.schema.equals(SHARD)
    assert sorted(zip(table["english"].to_pylist(), table["text"].to_pylist(), strict=True)) == sorted(ROWS)
    for row in table.to_pylist():
        assert row["split"] == assign_split(row["english"], SplitConfig())
        assert (row["source"], row["english_chars"], row["text_chars"]) == ("mine", len(row["english"]), len(row["text"]))
    assert (summary["tag"], summary["name"], summary["script"], summary["codes"]) == ("sw", "Swahili", "Latn", ["swa"])
    assert (summary["read"], summary["kept"], summary["written"]) == (62, 60, True)
    assert summary["dropped"] == {"placeholder": 1, "short": 1}
    for split in ("train", "valid", "test"):
        assert summary["pairs"][split] == {"mine": table["split"].to_pylist().count(split)}
    assert summary["median_english_words"] == 5


def test_task_and_summary_are_plain_data_and_the_function_can_be_sent(part, tmp_path):
    plain = task([part("mine", ROWS)], tmp_path / "out")
    sent, received = json.loads(json.dumps(plain)), pickle.loads(pickle.dumps(build_language))
    summary = received(sent)
    assert json.loads(json.dumps(summary)) == summary


def test_rows_are_shuffled_the_same_way_whatever_order_they_come_in(part, tmp_path):
    shuffled = random.Random(0).sample(ROWS, len(ROWS))
    for name, rows in (("one", ROWS), ("two", shuffled)):
        path, code, _ = part(f"source-{name}", rows)
        build_language(task([(path, code, "mine")], tmp_path / name))
    first, second = (tmp_path / name / "lang=sw" / "part-0.parquet" for name in ("one", "two"))
    assert first.read_bytes() == second.read_bytes()
    order = [ROWS.index(pair) for pair in zip(*(read(tmp_path / "one")[name].to_pylist() for name in ("english", "text")), strict=True)]
    ascents = sum(before < after for before, after in itertools.pairwise(order))
    assert 15 < ascents < 45  # a shuffle of 60 rises 29.5 times on average, standard deviation 2.3


def test_ids_are_unique_sorted_and_survive_a_rebuild_with_other_rows(part, tmp_path):
    build_language(task([part("a", ROWS)], tmp_path / "one"))
    build_language(task([part("b", ROWS[:30])], tmp_path / "two"))
    all_rows, half = ({row["english"]: row["id"] for row in read(tmp_path / name).to_pylist()} for name in ("one", "two"))
    assert len(set(all_rows.values())) == 60
    assert all(row_id.startswith("sw-") for row_id in all_rows.values())
    assert half == {english: all_rows[english] for english, _ in ROWS[:30]}
    ids = read(tmp_path / "one")["id"].to_pylist()
    assert ids == sorted(ids)


@pytest.mark.parametrize("drop_duplicates", [True, False])
def test_the_same_pair_of_two_sources_stands_once_under_the_first(part, tmp_path, drop_duplicates):
    cleaning = CleaningConfig(drop_duplicates=drop_duplicates).to_dict()
    summary = build_language(task([part("second", ROWS), part("another", ROWS)], tmp_path / "out", cleaning=cleaning))
    assert set(read(tmp_path / "out")["source"].to_pylist()) == {"second"}
    assert (summary["read"], summary["kept"], summary["dropped"]) == (120, 60, {"duplicate": 60})


def test_a_language_with_too_few_pairs_leaves_no_shard_but_its_counts(part, tmp_path):
    summary = build_language(task([part("mine", ROWS)], tmp_path / "out", min_pairs=61))
    assert (summary["kept"], summary["written"]) == (60, False)
    assert not (tmp_path / "out").exists()


def test_a_language_of_which_nothing_is_left_is_summarised(part, tmp_path):
    summary = build_language(task([part("mine", [("Hi", "Ha")])], tmp_path / "out"))
    assert (summary["kept"], summary["written"], summary["dropped"], summary["median_text_chars"]) == (0, False, {"short": 1}, 0)
