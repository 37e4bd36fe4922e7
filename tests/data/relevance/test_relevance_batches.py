"""Rows of the plan as tensors: the same global batches for any number of workers, and from any position on."""

from dataclasses import fields

import numpy as np
import pytest
import torch

from optical_ray.artifacts import Store
from optical_ray.data.batches import ARRAY_TYPES
from optical_ray.data.plan import START
from optical_ray.data.relevance.batches import (
    NO_DOCUMENT,
    RelevanceBatchConfig,
    RelevanceReader,
    choose_documents,
    plan_queries,
    read_queries,
)
from optical_ray.data.relevance.build import build_relevance
from optical_ray.data.relevance.config import RelevanceConfig
from optical_ray.encoders.config import TextForm

STEPS = 7


@pytest.fixture(scope="module")
def data(world, tmp_path_factory):
    """21 training queries, more or less, with 0 to 3 negatives: an epoch ends inside a batch."""
    folder = tmp_path_factory.mktemp("relevance")
    rows = [
        "\t".join([f"every child reads book {chr(97 + n)}", f"a woman paints book {chr(97 + n)}", *(["her hat"] * (n % 3 > 0))])
        for n in range(24)
    ]
    (folder / "a.tsv").write_text("".join(row + "\n" for row in rows if row.count("\t") == 1))
    (folder / "b.tsv").write_text("".join(row + "\n" for row in rows if row.count("\t") == 2))
    sources = [str(folder / "a.tsv"), str(folder / "b.tsv")]
    return build_relevance(Store(folder / "store"), sources, RelevanceConfig(valid_share=0.15), ["contrastive"])


@pytest.fixture(scope="module")
def reader(data, world):
    return RelevanceReader(data.folder, str(world.teacher), None, TextForm("", 8), TextForm("the ", 16), 2, seed=3)


@pytest.fixture(scope="module")
def plan(data):
    return plan_queries(data, RelevanceBatchConfig(queries=8, group=4), STEPS, seed=3)


def assert_equal(found, expected):
    for field in fields(expected):
        one, other = getattr(found, field.name), getattr(expected, field.name)
        assert torch.equal(one.nan_to_num(7.0), other.nan_to_num(7.0)), field.name


def test_every_query_is_met_once_before_any_twice_with_its_own_documents(reader, plan, data):
    seen = []
    for batch, _ in read_queries(reader, plan):
        assert (batch.document_BK[:, 0] == batch.known_BP[:, 0]).all(), "one positive, which is known"
        assert not batch.document_content_BKM[batch.document_BK == NO_DOCUMENT].any()
        assert batch.document_content_BKM[:, :, :2].sum() == 0, "CLS and the prefix are read, not scored"
        seen += batch.known_BP[:, 0].tolist()
        counts = np.bincount(seen, minlength=len(data.documents))[
            sorted(row["positives"][0] for row in data.train.take(range(len(data.train))))
        ]
        assert counts.max() - counts.min() <= 1
    assert counts.sum() == STEPS * 8


def test_two_workers_hold_the_batches_of_one(reader, plan):
    for (whole, after), *parts in zip(
        read_queries(reader, plan), *(read_queries(reader, plan, START, rank, 2) for rank in range(2)), strict=True
    ):
        assert [position for _, position in parts] == [after, after]
        for name in ("document_BK", "query_content_BN"):
            joined = [getattr(part, name) for part, _ in parts]
            width = max(part.shape[1] for part in joined)
            joined = torch.cat([torch.nn.functional.pad(part, (0, width - part.shape[1])) for part in joined])
            assert torch.equal(joined, getattr(whole, name))


@pytest.mark.parametrize("stop_after", [1, 2, 3, 5])
def test_a_resumed_stream_continues_where_it_stopped(stop_after, reader, plan):
    batches = list(read_queries(reader, plan))
    resumed = list(read_queries(reader, plan, batches[stop_after - 1][1]))
    assert len(resumed) == STEPS - stop_after
    for (found, position), (expected, same) in zip(resumed, batches[stop_after:], strict=True):
        assert position == same
        assert_equal(found, expected)


def test_flat_arrays_bring_back_the_batch(reader, plan):
    for (flat, _), (expected, _) in zip(reader.read_window(plan, 0), read_queries(reader, plan), strict=False):
        arrays = {name: np.frombuffer(array.tobytes(), ARRAY_TYPES[name]) for name, array in flat.to_arrays().items()}
        assert_equal(reader.collate_arrays(arrays), expected)


def test_documents_are_drawn_by_their_seed_alone():
    chosen = [choose_documents(3, 10, 4, seed) for seed in range(200)]
    assert all(len(set(places)) == 5 and places[0] < 3 and min(places[1:]) >= 3 for places in chosen)
    assert {places[0] for places in chosen} == {0, 1, 2}
    assert choose_documents(3, 10, 4, 5) == chosen[5]
    assert choose_documents(1, 1, 4, 0) == [0, 1]
