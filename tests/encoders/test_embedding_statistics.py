"""Embeddings after masked-LM get the mean and spread back that they began with, and an untrained encoder is left alone."""

import copy

import pytest
import torch
from transformers import BertConfig, BertModel, DistilBertConfig, DistilBertModel, ModernBertConfig, ModernBertModel

from optical_ray.encoders.embedding_statistics import TableStatistics, normalise_embeddings

PIECES, SEEN = 400, 250
OCCURRING = torch.arange(PIECES) < SEEN
SIZES = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24, "vocab_size": PIECES}


@pytest.fixture
def began():
    torch.manual_seed(0)
    model = BertModel(BertConfig(**SIZES, max_position_embeddings=12), add_pooling_layer=False)
    with torch.no_grad():
        model.embeddings.position_embeddings.weight.zero_()
        model.embeddings.token_type_embeddings.weight.zero_()
    return model


def train_badly(model):
    """What masked-LM does: words longer and with one vector in common, the others pushed elsewhere, positions and segment moved."""
    trained = copy.deepcopy(model)
    with torch.no_grad():
        words = trained.get_input_embeddings().weight
        words[OCCURRING] = 6 * (words[OCCURRING] + 0.05 * torch.randn(SEEN, 16)) + 0.7
        words[~OCCURRING] -= 0.4
        trained.embeddings.position_embeddings.weight[:8] += 0.3 + 0.05 * torch.randn(8, 16)
        trained.embeddings.token_type_embeddings.weight[0] += 0.2
    return trained


def test_an_encoder_that_was_not_trained_is_a_fixed_point(began):
    """So a control without pre-training has what a pre-trained encoder is given."""
    same = copy.deepcopy(began)
    found = normalise_embeddings(same, began, OCCURRING)
    assert all(torch.equal(one, other) for one, other in zip(same.parameters(), began.parameters(), strict=True))
    assert found["occurring"]["factor"] == found["other"]["factor"] == 1.0
    assert found["occurring"]["start"]["common_share"] < 0.02
    assert found["occurring"]["start"]["std"] == pytest.approx(0.02, rel=0.05)


def test_each_group_of_words_gets_its_own_mean_and_spread_back(began):
    trained = train_badly(began)
    bad = trained.get_input_embeddings().weight.detach().clone()
    found = normalise_embeddings(trained, began, OCCURRING)
    assert found["occurring"]["end"]["common_share"] > 0.8
    assert found["occurring"]["pieces"] == SEEN
    for chosen in (OCCURRING, ~OCCURRING):
        now, start = (TableStatistics.of(model.get_input_embeddings().weight.detach()[chosen]) for model in (trained, began))
        torch.testing.assert_close(now.mean_D, start.mean_D, atol=1e-6, rtol=0)
        assert now.std == pytest.approx(start.std, rel=1e-5)
    rows, before = trained.get_input_embeddings().weight.detach()[OCCURRING].double(), bad[OCCURRING].double()
    moved, taught = (table - table.mean(0) for table in (rows, before))
    torch.testing.assert_close(moved, taught * found["occurring"]["factor"], atol=1e-6, rtol=1e-4)


def test_positions_lose_what_they_share_and_segments_go_back(began):
    trained = train_badly(began)
    before = trained.embeddings.position_embeddings.weight.detach().clone()
    found = normalise_embeddings(trained, began, OCCURRING)
    positions = trained.embeddings.position_embeddings.weight.detach()
    torch.testing.assert_close(positions[:8].mean(0), torch.zeros(16), atol=1e-6, rtol=0)
    expected = (before[:8] - before[:8].mean(0)) * found["occurring"]["factor"]
    torch.testing.assert_close(positions[:8], expected, atol=1e-6, rtol=1e-4)
    assert torch.equal(positions[8:], torch.zeros(4, 16)), "never read"
    assert torch.equal(trained.embeddings.token_type_embeddings.weight, began.embeddings.token_type_embeddings.weight)


@pytest.mark.parametrize(
    "model",
    [
        lambda: DistilBertModel(DistilBertConfig(vocab_size=PIECES, dim=16, n_layers=1, n_heads=2, hidden_dim=24)),
        lambda: ModernBertModel(ModernBertConfig(**SIZES, pad_token_id=0, cls_token_id=2, sep_token_id=3, reference_compile=False)),
    ],
    ids=["distilbert", "modernbert, without position embeddings"],
)
def test_other_families_are_normalised_too(model):
    began = model()
    trained = copy.deepcopy(began)
    with torch.no_grad():
        trained.get_input_embeddings().weight.mul_(5).add_(1)
    normalise_embeddings(trained, began, OCCURRING)
    torch.testing.assert_close(trained.get_input_embeddings().weight, began.get_input_embeddings().weight, atol=1e-6, rtol=1e-4)
