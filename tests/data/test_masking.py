"""Masks: the same for any number of workers and after a resume, and never where there is nothing to guess."""

import numpy as np
import pytest
import torch

from optical_ray.data.batches import TextBatch
from optical_ray.data.masking import IGNORED, MaskRules, mask_batches
from optical_ray.data.plan import START, Position
from optical_ray.encoders.config import TokenizerConfig
from optical_ray.encoders.pretrained import load_tokenizer
from optical_ray.encoders.tokenizer import train_tokenizer
from optical_ray.errors import ModelError

MASK, GROUP, LONGEST = 4, 2, 12
RULES = MaskRules(0.4, MASK, np.arange(5, 50), LONGEST, 7)


def sentences(turn, sizes=(8, 12, 6)):
    """A global batch of ragged sentences: [CLS] prefix content... [SEP], then padding."""
    generator = torch.Generator().manual_seed(turn)
    lengths = torch.randint(4, LONGEST + 1, (sizes[turn % len(sizes)],), generator=generator)
    places = torch.arange(LONGEST)[None]
    attention = places < lengths[:, None]
    content = attention & (places >= 2) & (places < lengths[:, None] - 1)
    ids = torch.randint(5, 50, attention.shape, generator=generator).masked_fill(~content, 2).masked_fill(~attention, 0)
    return TextBatch(ids, attention, content, torch.arange(len(lengths)) % 3)


def stream(start, rank=0, workers=1, batches=5):
    """Two batches to a window; each worker pads its part to its own longest sentence."""
    pairs = start.pairs
    for turn in range(start.window * 2 + start.batch, batches):
        whole = sentences(turn)
        groups = len(whole.ids_BN) // GROUP
        rows = slice(groups * rank // workers * GROUP, groups * (rank + 1) // workers * GROUP)
        width = int(whole.attention_BN[rows].sum(1).max())
        part = TextBatch(*(side[rows, :width] for side in (whole.ids_BN, whole.attention_BN, whole.content_BN)), whole.language_B[rows])
        pairs += len(whole.ids_BN)
        yield part, Position((turn + 1) // 2, (turn + 1) % 2, pairs)


def masked(start=START, rank=0, workers=1):
    return list(mask_batches(stream(start, rank, workers), RULES, start, GROUP, rank, workers))


def padded(side, width, value):
    return torch.nn.functional.pad(side, (0, width - side.shape[1]), value=value)


@pytest.mark.parametrize("workers", [2, 3])
def test_workers_draw_the_masks_of_one(workers):
    alone = masked()
    parts = [masked(rank=rank, workers=workers) for rank in range(workers)]
    for turn, (whole, after) in enumerate(alone):
        width = whole.ids_BN.shape[1]
        own = [part[turn][0] for part in parts]
        assert all(part[turn][1] == after for part in parts)
        assert torch.equal(torch.cat([padded(each.ids_BN, width, 0) for each in own]), whole.ids_BN)
        assert torch.equal(torch.cat([padded(each.labels_BN, width, IGNORED) for each in own]), whole.labels_BN)


@pytest.mark.parametrize("done", [1, 2, 3], ids=["inside a window", "on its end", "inside the next"])
def test_a_resumed_training_draws_the_same_masks(done):
    whole = masked()
    again = masked(whole[done - 1][1])
    assert len(again) == len(whole) - done
    for (expected, _), (found, _) in zip(whole[done:], again, strict=True):
        assert torch.equal(found.ids_BN, expected.ids_BN)
        assert torch.equal(found.labels_BN, expected.labels_BN)


def test_a_batch_that_comes_again_is_masked_anew():
    batch = sentences(0)
    first, second = (RULES.mask(batch, ("mask", 0, turn), slice(0, 8), 8) for turn in (0, 1))
    assert not torch.equal(first.labels_BN, second.labels_BN)


def test_only_content_is_guessed_and_all_else_is_shown_as_it_is():
    for turn, (batch, _) in enumerate(masked()):
        text = sentences(turn)
        width = batch.ids_BN.shape[1]
        content, ids = text.content_BN[:, :width], text.ids_BN[:, :width]
        guessed = batch.labels_BN != IGNORED
        assert not (guessed & ~content).any()
        assert torch.equal(batch.labels_BN[guessed], ids[guessed])
        assert torch.equal(batch.ids_BN[~guessed], ids[~guessed])


def test_of_the_tokens_to_be_guessed_eight_in_ten_are_hidden_and_one_is_another():
    ids = torch.full((400, LONGEST), 60)
    batch = TextBatch(
        ids, torch.ones_like(ids, dtype=torch.bool), torch.ones_like(ids, dtype=torch.bool), torch.zeros(400, dtype=torch.int64)
    )
    found = RULES.mask(batch, ("mask", 0, 0), slice(0, 400), 400)
    guessed = found.labels_BN != IGNORED
    shown = found.ids_BN[guessed]
    assert guessed.float().mean().item() == pytest.approx(0.4, abs=0.03)
    assert (shown == MASK).float().mean().item() == pytest.approx(0.8, abs=0.03)
    assert (shown == 60).float().mean().item() == pytest.approx(0.1, abs=0.03)
    others = shown[(shown != MASK) & (shown != 60)]
    assert set(others.tolist()) <= set(range(5, 50))


def test_parts_and_devices_keep_the_labels_beside_the_tokens():
    batch = masked()[0][0]
    part = batch.part(slice(2, 4)).to("cpu")
    assert torch.equal(part.labels_BN, batch.labels_BN[2:4])
    assert torch.equal(part.language_B, batch.language_B[2:4])


def test_a_tokenizer_tells_what_may_stand_in_anothers_place_or_is_refused(tmp_path):
    train_tokenizer(["kitabu cha mwalimu", "mtoto anasoma kitabu"], TokenizerConfig(vocab_size=100, min_frequency=1), tmp_path)
    tokenizer = load_tokenizer(str(tmp_path))
    rules = MaskRules.of(tokenizer, 0.15, 16, 0)
    assert rules.mask_id == tokenizer.mask_token_id
    assert not set(rules.ordinary) & set(tokenizer.all_special_ids)
    assert len(rules.ordinary) == len(tokenizer) - 5
    tokenizer.mask_token = None
    with pytest.raises(ModelError, match="no mask token"):
        MaskRules.of(tokenizer, 0.15, 16, 0)
