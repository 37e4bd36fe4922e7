import numpy as np
import pyarrow as pa
import pytest

from optical_ray.errors import ConfigError
from optical_ray.retrieval.values import canonical_measure, main_measure, values_of

ROWS = pa.table(
    {
        "rank": pa.array([1, 2, 10, 11, 21, None], pa.int32()),
        "AP": pa.array([1, 0.5, 0.1, 0.09, 0.04, 0], pa.float32()),
        "R@100": pa.array([1, 1, 1, 1, 1, None], pa.float32()),
    }
)


@pytest.mark.parametrize(
    ("measure", "expected"),
    [
        ("Success@1", [1, 0, 0, 0, 0, 0]),
        ("Success@10", [1, 1, 1, 0, 0, 0]),
        ("RR@10", [1, 1 / 2, 1 / 10, 0, 0, 0]),
        ("MRR@20", [1, 1 / 2, 1 / 10, 1 / 11, 0, 0]),
        ("RR", [1, 1 / 2, 1 / 10, 1 / 11, 1 / 21, 0]),
        ("MAP", [1, 0.5, 0.1, 0.09, 0.04, 0]),
    ],
)
def test_values_follow_from_the_rank_or_are_stored(measure, expected):
    assert values_of(ROWS, measure) == pytest.approx(expected)


def test_a_value_that_was_not_kept_is_not_a_number():
    assert np.isnan(values_of(ROWS, "R@100")).tolist() == [False] * 5 + [True]


@pytest.mark.parametrize(
    ("name", "expected"),
    [("mrr@10", "RR@10"), ("map@20", "AP@20"), ("ndcg@10", "nDCG@10"), ("success@5", "Success@5"), ("R@100", "R@100"), ("MRR", "RR")],
)
def test_names_are_those_of_ir_measures(name, expected):
    import ir_measures

    assert canonical_measure(name) == expected
    assert str(ir_measures.parse_measure(expected)) == expected


@pytest.mark.parametrize("name", ["accuracy", "nDCG@20", "R@1000", "Success@0", "Success", "RR@", "P@10", "", "RR@10.5"])
def test_an_unknown_measure_is_refused_with_those_that_there_are(name):
    with pytest.raises(ConfigError, match=r"expected one of Success@k, RR@k, RR, AP, AP@20, nDCG@10, R@100"):
        canonical_measure(name)


def test_every_task_has_its_own_first_measure():
    assert [main_measure(task) for task in ("bitext", "tatoeba from en", "lareqa", "mewsli-x", "afriqa")] == [
        "Success@1", "Success@1", "AP@20", "RR@20", "nDCG@10",
    ]  # fmt: skip
