"""The frozen teacher, asked for a batch at a time."""

import pytest
import torch

from optical_ray.encoders.config import TeacherConfig
from optical_ray.encoders.teacher import load_teacher, read_dimension
from optical_ray.errors import ModelError


@pytest.fixture(scope="module")
def teacher(world):
    return load_teacher(str(world.teacher), TeacherConfig())


@pytest.fixture
def batch():
    """Three sentences with special tokens at different places, padding, and one without any content."""
    attention_BM = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 1, 0, 0, 0]]).bool()
    content_BM = torch.tensor([[0, 1, 0, 1, 0], [0, 1, 1, 0, 0], [0, 0, 0, 0, 0]]).bool()
    ids_BM = torch.arange(5, 20).reshape(3, 5) * attention_BM
    return ids_BM, attention_BM, content_BM


def test_content_tokens_are_packed_to_the_left_and_rounded_as_the_cache_rounds(teacher, batch):
    ids_BM, attention_BM, content_BM = batch
    vectors_BMD, mask_BM = teacher.encode_ids(*batch)
    assert mask_BM.tolist() == [[True, True], [True, True], [False, False]]
    states_BMD = teacher.encode(ids_BM, attention_BM)
    for row in range(3):
        expected = states_BMD[row][content_BM[row]].half().float()
        assert torch.equal(vectors_BMD[row][mask_BM[row]], expected)
    assert vectors_BMD.dtype == torch.float32
    assert vectors_BMD[~mask_BM].abs().sum() == 0


def test_padding_changes_nothing_but_the_last_bits(teacher, batch):
    wider = [torch.nn.functional.pad(side, (0, 4)) for side in batch]
    (vectors, mask), (padded, padded_mask) = teacher.encode_ids(*batch), teacher.encode_ids(*wider)
    assert torch.equal(mask, padded_mask)
    torch.testing.assert_close(vectors, padded, atol=2e-3, rtol=2e-3)


def test_a_batch_without_content_still_has_a_place_to_mask(teacher, batch):
    ids_BM, attention_BM, content_BM = batch
    vectors_BMD, mask_BM = teacher.encode_ids(ids_BM, attention_BM, torch.zeros_like(content_BM))
    assert vectors_BMD.shape == (3, 1, teacher.dimension) and not mask_BM.any()


def test_a_loss_on_online_tokens_reaches_the_student_and_not_the_teacher(teacher, batch):
    vectors_BMD, _ = teacher.encode_ids(*batch)
    student = torch.ones(3, 2, teacher.dimension, requires_grad=True)
    (student * vectors_BMD).sum().backward()
    assert torch.equal(student.grad, vectors_BMD)
    assert all(parameter.grad is None for parameter in teacher.model.parameters())


def test_the_dimension_is_read_without_the_weights(world, teacher, tmp_path):
    (tmp_path / "config.json").write_bytes((world.teacher / "config.json").read_bytes())
    assert read_dimension(str(tmp_path), TeacherConfig()) == teacher.dimension
    with pytest.raises(ModelError, match="no such folder"):
        read_dimension(str(tmp_path / "absent"), TeacherConfig())
