"""Cut files: every row once, in order, and the number of a line is its number in the file."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from data.reading.writers import PACK, csv_bytes, jsonl, moses, pairs_of, parquet, read, tsv
from hypothesis import given, settings
from hypothesis import strategies as st

from optical_ray.data.reading import cuts, inspect, lines, plan_chunks, streams, tmx
from optical_ray.data.reading.chunks import BATCH_ROWS
from optical_ray.errors import DataError


@pytest.fixture
def small_pieces(monkeypatch):
    """Chunks of 64 bytes, blocks of 16, batches of 3 rows."""
    for module in (cuts, inspect):
        monkeypatch.setattr(module, "CHUNK_BYTES", 64)
    for module in (cuts, streams):
        monkeypatch.setattr(module, "BLOCK_BYTES", 16)
    for module in (lines, tmx):
        monkeypatch.setattr(module, "BATCH_ROWS", 3)


def some_pairs(rows: int, letters: str = "abcü\u0939 ") -> list[tuple[str, str]]:
    draw = random.Random(rows)
    return [tuple("x" + "".join(draw.choices(letters, k=draw.randrange(30))) for _ in range(2)) for _ in range(rows)]  # type: ignore[misc]


@pytest.mark.parametrize("last_end", [True, False])
@pytest.mark.parametrize("rows", [1, 2, 7, 60])
def test_pieces_of_line_files_give_every_row_once_in_order(rows, last_end, small_pieces, tmp_path):
    pairs = some_pairs(rows)
    (tmp_path / "sw.tsv").write_bytes(tsv(pairs)[: None if last_end else -1])
    (tmp_path / "sw.jsonl").write_bytes(jsonl([{"en": english, "sw": text} for english, text in pairs])[: None if last_end else -1])
    moses(tmp_path, pairs)
    if not last_end:
        (tmp_path / "news.en").write_bytes((tmp_path / "news.en").read_bytes()[:-1])
    for name in ("sw.tsv", "sw.jsonl", "news"):
        if rows == 60:
            assert len(plan_chunks([str(tmp_path / name)]).chunks) > 10
        assert pairs_of(read(tmp_path / name)[0]) == pairs, name


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(*[st.text(st.sampled_from('a,"\n '), max_size=40)] * 2), min_size=1, max_size=30))
def test_a_csv_is_never_cut_inside_quotes(tmp_path_factory, pairs):
    pairs = [("english", "text"), *(("x" + english, text) for english, text in pairs)]
    path = tmp_path_factory.mktemp("csv") / "sw.csv"
    path.write_bytes(csv_bytes(pairs))
    with pytest.MonkeyPatch.context() as patch:
        for module in (cuts, inspect):
            patch.setattr(module, "CHUNK_BYTES", 64)
        for module in (cuts, streams):
            patch.setattr(module, "BLOCK_BYTES", 16)
        found = pairs_of(read(path)[0])
        if path.stat().st_size > 1000:
            assert len(plan_chunks([str(path)]).chunks) > 2
    assert found == pairs[1:]


def test_the_line_of_a_late_piece_is_counted_from_the_top_of_the_file(small_pieces, tmp_path):
    pairs = some_pairs(50)
    (tmp_path / "sw.tsv").write_bytes(tsv(pairs) + b"broken\n" + tsv(pairs))
    moses(tmp_path, pairs, prefix="m")
    halves = (tmp_path / "m.sw").read_bytes().split(b"\n")
    halves[41] = b"\xff"
    (tmp_path / "m.sw").write_bytes(b"\n".join(halves))
    for name, place in (("sw.tsv", "sw.tsv, line 51: 1 column"), ("m", "m.sw, line 42: byte 1")):
        with pytest.raises(DataError, match=place):
            read(tmp_path / name)


@pytest.mark.parametrize(("english", "foreign"), [(50, 47), (3, 50)])
def test_unequal_halves_are_found_before_anything_is_read(english, foreign, small_pieces, tmp_path):
    pairs = some_pairs(50)
    moses(tmp_path, pairs)
    (tmp_path / "news.en").write_text("".join(f"{pair[0]}\n" for pair in pairs[:english]))
    (tmp_path / "news.sw").write_text("".join(f"{pair[1]}\n" for pair in pairs[:foreign]))
    with pytest.raises(DataError, match=rf"news\.sw: {foreign} lines, but .*news\.en has {english}"):
        plan_chunks([str(tmp_path)])
    batches, tally = read(tmp_path, on_bad_row="skip")
    assert pairs_of(batches) == []
    assert tally.bad == {"unequal halves": max(english, foreign)}


def test_parquet_is_cut_between_row_groups_by_the_columns_that_are_read(monkeypatch, tmp_path):
    monkeypatch.setattr(cuts, "CHUNK_BYTES", 4000)
    pairs = some_pairs(400)
    columns = {"english": [english for english, _ in pairs], "text": [text for _, text in pairs], "unread": ["x" * 1000] * 400}
    path = parquet(tmp_path / "sw.parquet", columns, row_group_size=20)
    plan = plan_chunks([str(path)])
    groups = [chunk["row_groups"] for chunk in plan.chunks]
    assert 4 < len(groups) < 12 and groups[0][0] == 0 and groups[-1][1] == 20
    assert all(before[1] == after[0] for before, after in pairwise(groups))
    assert pairs_of(read(path)[0]) == pairs
    assert plan.estimated_bytes < 40000


def test_batches_hold_sixteen_thousand_rows_at_most_and_say_where_they_begin(tmp_path):
    pairs = [(str(number), "x") for number in range(2 * BATCH_ROWS + 5)]
    (tmp_path / "sw.tsv.gz").write_bytes(PACK[".gz"](tsv(pairs)))
    moses(tmp_path, pairs, suffix=".gz")
    for name in ("sw.tsv.gz", "news"):
        batches, _ = read(tmp_path / name)
        assert [(len(batch.english), batch.first_row) for batch in batches] == [
            (BATCH_ROWS, 0),
            (BATCH_ROWS, BATCH_ROWS),
            (5, 2 * BATCH_ROWS),
        ]
        assert pairs_of(batches) == pairs


@pytest.mark.parametrize("suffix", [".gz", ".xz", ".bz2", ".zst"])
def test_packed_streams_behind_each_other_are_one_file_and_a_megabyte_of_zeros_is_no_surprise(suffix, tmp_path):
    path = tmp_path / f"x{suffix}"
    path.write_bytes(PACK[suffix](bytes(5 << 20)) + PACK[suffix](b"end"))
    blocks = list(streams.read_blocks(str(path), "x", suffix[1:]))
    assert b"".join(blocks) == bytes(5 << 20) + b"end"
    assert max(map(len, blocks)) <= streams.BLOCK_BYTES
