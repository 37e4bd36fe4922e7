"""Reductions over two processes with gloo, and over one without a process group."""

import pytest
import torch
from training import scenarios
from training.tiny import make_student, weights

from optical_ray.training.parallel import Parallel

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:multiprocessing")


def test_sums_maxima_and_rows_are_those_of_both_workers_on_both(two_workers):
    expected_rows = torch.tensor([[0.0], [1.0], [2.0], [10.0], [11.0], [12.0], [13.0]])
    for rank, (total, largest, rows, own, text) in enumerate(two_workers.run(scenarios.reduce_values)):
        torch.testing.assert_close(total, torch.tensor([3.0, -6.0]))
        torch.testing.assert_close(largest, torch.tensor([2.0, -2.0]))
        torch.testing.assert_close(rows, expected_rows)
        torch.testing.assert_close(own, torch.tensor([1.0, -2.0]) * (rank + 1), msg="what was handed in stays as it is")
        assert text == "zwölf am Ende"


def test_one_worker_reduces_to_its_own_without_a_process_group():
    values = torch.tensor([1.0, 2.0], requires_grad=True)
    alone = Parallel()
    for found in (alone.sum(values), alone.largest(values), alone.gather(values)):
        assert found.tolist() == [1.0, 2.0]
        assert not found.requires_grad
    assert (alone.gather_text(""), alone.gather_text("one")) == ("", "one")
    alone.sum(values).add_(1)
    assert values.tolist() == [1.0, 2.0]


def test_workers_start_from_the_main_workers_weights(two_workers):
    main, other = two_workers.run(scenarios.share_weights)
    built = weights(make_student(seed=0))
    assert any(not torch.equal(built[name], value) for name, value in weights(make_student(seed=1)).items())
    for name, value in built.items():
        assert torch.equal(main[name], value)
        assert torch.equal(other[name], value)


@pytest.mark.parametrize("bucket_bytes", [1, 60, 2**20], ids=["one each", "some together", "all of a dtype together"])
def test_gradients_are_summed_however_they_are_cut_into_buckets(two_workers, bucket_bytes):
    (first, found), (second, other) = two_workers.run(scenarios.sum_gradients, bucket_bytes)
    assert second[1] is None
    for one, two, total, elsewhere in zip(first, second, found, other, strict=True):
        torch.testing.assert_close(total, one if two is None else one + two)
        assert torch.equal(total, elsewhere)
