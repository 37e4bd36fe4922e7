import pytest
import torch
from training.pairs import Table, make_batch

from optical_ray.training.centres import DECAY, LanguageCentres
from optical_ray.training.checkpoint import CENTRES
from optical_ray.training.config import ObjectiveConfig
from optical_ray.training.objectives import Distillation
from optical_ray.training.parallel import Parallel
from optical_ray.transport.config import SinkhornConfig
from optical_ray.transport.cost import GroundCost


def tokens_of(batch, language):
    """The table student's content tokens of one language, float64 [T, D]."""
    rows = batch.language_B == language
    return Table()(batch.ids_BN, None).detach()[rows][batch.content_BN[rows]].double()


def observe(centres, batch):
    return centres.sums(Table()(batch.ids_BN, None), batch.content_BN, batch.language_B)


def test_the_running_mean_is_that_of_a_plain_loop():
    centres = LanguageCentres.start(4, 5)
    expected = {}
    for seed in range(4):
        batch = make_batch(seed)
        if seed % 2:
            batch.language_B[:] = seed  # the others are not in this batch
        centres.update(observe(centres, batch))
        for language in set(batch.language_B.tolist()):
            mean = tokens_of(batch, language).mean(0)
            expected[language] = DECAY * expected[language] + (1 - DECAY) * mean if language in expected else mean
    assert centres.seen_L.tolist() == [language in expected for language in range(4)]
    for language, mean in expected.items():
        torch.testing.assert_close(centres.mean_LD[language], mean)


def test_workers_move_the_mean_as_one_would():
    batch = make_batch()
    batch.content_BN[3] = False
    alone, together = LanguageCentres.start(3, 5), LanguageCentres.start(3, 5)
    alone.update(observe(alone, batch))
    together.update(sum(observe(together, batch.part(part)) for part in (slice(0, 4), slice(4, 8))))
    torch.testing.assert_close(together.mean_LD, alone.mean_LD, atol=1e-14, rtol=0)


def test_a_language_not_seen_yet_is_centred_by_its_tokens_in_the_group():
    batch = make_batch()
    centres = LanguageCentres(torch.ones(3, 5).double(), torch.tensor([True, False, True]))
    found = centres.of_pairs(Table()(batch.ids_BN, None), batch.content_BN, batch.language_B, 4)
    for pair in range(8):
        own = batch.part(slice(pair - pair % 4, pair - pair % 4 + 4))
        expected = tokens_of(own, 1).mean(0) if batch.language_B[pair] == 1 else torch.ones(5).double()
        torch.testing.assert_close(found[pair], expected.float())


def test_where_a_language_lies_costs_nothing_under_its_own_mean():
    """An offset of every token of a language, as large as the tokens: the loss does not see it, and that of one centre does."""
    batch = make_batch()

    class Shifted(Table):
        def __init__(self, offset):
            super().__init__()
            self.offset = offset

        def forward(self, ids, attention):
            return self.weight[ids] + self.offset[batch.language_B][:, None]

    def price(offset, centred):
        centres = LanguageCentres.start(3, 5) if centred else None
        objective = Distillation(ObjectiveConfig(greedy=1.0), GroundCost(torch.full((5,), 0.2)), SinkhornConfig(), 4, Parallel(), centres)
        first = objective.price(Shifted(offset), batch, objective.counts(batch))
        if centres is not None:
            objective.step_taken([first])
        return objective(Shifted(offset), batch).total.item()

    offset = 3 * torch.randn(3, 5, generator=torch.Generator().manual_seed(0))
    assert price(offset, True) == pytest.approx(price(torch.zeros(3, 5), True), abs=1e-5)
    assert abs(price(offset, False) - price(torch.zeros(3, 5), False)) > 0.1


def test_centres_are_part_of_the_checkpoint(world, tmp_path):
    from optical_ray.recipe import Resources
    from optical_ray.runs.folder import RunFolder
    from optical_ray.training.checkpoint import latest_checkpoint
    from optical_ray.trial import run_trial

    recipe = world.recipe.override({"cost.centre": "language-mean", "training.max_steps": 10})
    run = RunFolder(tmp_path / "whole")
    heard = []

    def stop(step, metrics):
        heard.append(step)
        if step == 5:
            raise KeyboardInterrupt

    whole = run_trial(recipe.override({"training.checkpoint_every": 5}), Resources(), world.store, run)
    checkpoint = latest_checkpoint(run.trial(whole.trial_id).checkpoint)
    assert (checkpoint / CENTRES).is_file()
    cut = RunFolder(tmp_path / "cut")
    with pytest.raises(KeyboardInterrupt):
        run_trial(recipe.override({"training.checkpoint_every": 5}), Resources(), world.store, cut, stop)
    status = run_trial(recipe.override({"training.checkpoint_every": 5}), Resources(), world.store, cut)
    assert (status.state, status.resumed_from) == ("finished", 5)
    again = latest_checkpoint(cut.trial(whole.trial_id).checkpoint)
    for name in (CENTRES, "model.safetensors"):
        assert (again / name).read_bytes() == (checkpoint / name).read_bytes()
    assert not (again / "optimizer.pt").exists()
    assert heard == [0, 5]
