"""Whole or not at all: the last checkpoint, and the best."""

import json
from pathlib import Path

import pytest
import torch
from training.tiny import make_student, saves, weights

from optical_ray.data.plan import Position
from optical_ray.encoders.student_folder import load_student
from optical_ray.training import checkpoint as checkpoints
from optical_ray.training.checkpoint import (
    checkpoint_to_evaluate,
    drop_optimizer,
    latest_checkpoint,
    load_checkpoint,
    mend_best,
    save_checkpoint,
    sound_checkpoint,
)
from optical_ray.training.config import TrainingConfig
from optical_ray.training.state import Best, start_training

CONFIG = TrainingConfig(learning_rate=0.1)


def make_state(step=3):
    state = start_training(make_student(seed=step), CONFIG)
    for parameter in state.model.parameters():
        parameter.grad = torch.full_like(parameter, 0.1 * step)
    state.optimizer.step()
    state.drop_gradients()
    state.step, state.position = step, Position(1, 2, 8 * step)
    return state


def save(folder, tokenizer, step, objective=None):
    state = make_state(step)
    state.best = objective
    return save_checkpoint(folder, state, saves(tokenizer), {})


def test_a_state_comes_back_as_it_was(tmp_path, tokenizer):
    state = make_state()
    state.micro_groups, state.skipped, state.best = 2, 1, Best(3, 0.75)
    path = save_checkpoint(tmp_path, state, saves(tokenizer), {"baseline": 0.5})
    found, facts = load_checkpoint(path, load_student, CONFIG)
    assert facts == {"baseline": 0.5}
    assert (found.step, found.position, found.skipped, found.best) == (3, Position(1, 2, 24), 1, Best(3, 0.75))
    assert all(torch.equal(weights(found.model)[name], value) for name, value in weights(state.model).items())
    for one, other in zip(found.optimizer.state_dict()["state"].values(), state.optimizer.state_dict()["state"].values(), strict=True):
        assert all(torch.equal(one[name], other[name]) for name in other)


@pytest.mark.parametrize(("saved", "asked", "expected"), [(None, None, None), (2, None, 2), (None, 4, 4), (2, 4, 2), (4, 2, 2)])
def test_a_resumed_training_reads_no_more_at_once_than_memory_held_before(tmp_path, tokenizer, saved, asked, expected):
    state = make_state()
    state.micro_groups = saved
    path = save_checkpoint(tmp_path, state, saves(tokenizer), {})
    assert load_checkpoint(path, load_student, CONFIG.override({"micro_groups": asked}))[0].micro_groups == expected


def test_the_newest_two_are_kept_and_the_best_apart_without_its_optimiser(tmp_path, tokenizer):
    save(tmp_path, tokenizer, 1, Best(1, 0.2))
    save(tmp_path, tokenizer, 2, Best(2, 0.6))
    (tmp_path / ".step-00000009.scratch").mkdir()
    newest = save(tmp_path, tokenizer, 3, Best(2, 0.6))
    assert {path.name for path in tmp_path.iterdir()} == {"step-00000002", "step-00000003", "best"}
    assert latest_checkpoint(tmp_path) == newest
    assert not (tmp_path / "best" / "optimizer.pt").exists()
    assert json.loads((tmp_path / "best" / "position.json").read_text())["best"] == {"step": 2, "objective": 0.6}
    best = weights(load_student(tmp_path / "best"))
    assert all(torch.equal(best[name], value) for name, value in weights(make_state(2).model).items())


def test_the_student_to_evaluate_is_the_one_asked_for(tmp_path, tokenizer):
    assert checkpoint_to_evaluate(tmp_path, "best") is None
    untrained = save(tmp_path, tokenizer, 0)
    assert checkpoint_to_evaluate(tmp_path, "best") == untrained
    save(tmp_path, tokenizer, 2, Best(2, 0.6))
    newest = save(tmp_path, tokenizer, 3, Best(2, 0.6))
    assert checkpoint_to_evaluate(tmp_path, "best") == tmp_path / "best"
    assert checkpoint_to_evaluate(tmp_path, "last") == newest


class Killed(Exception):
    """Stands for a kill."""


def test_a_kill_between_the_newest_and_the_best_is_mended(tmp_path, tokenizer, monkeypatch):
    save(tmp_path, tokenizer, 1, Best(1, 0.2))

    def die(folder, newest):
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(checkpoints, "_keep_best", die)
        save(tmp_path, tokenizer, 2, Best(2, 0.6))
    assert latest_checkpoint(tmp_path).name == "step-00000002"
    assert json.loads((tmp_path / "best" / "position.json").read_text())["step"] == 1
    mend_best(tmp_path)
    assert json.loads((tmp_path / "best" / "position.json").read_text())["step"] == 2
    assert weights(load_student(tmp_path / "best")).keys() == weights(make_student()).keys()


def test_a_kill_before_the_rename_leaves_the_older_one(tmp_path, tokenizer, monkeypatch):
    older = save(tmp_path, tokenizer, 1, Best(1, 0.2))

    def die(source, target):
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(checkpoints, "write_json", die)
        save(tmp_path, tokenizer, 2, Best(2, 0.6))
    assert latest_checkpoint(tmp_path) == older
    mend_best(tmp_path)
    assert json.loads((tmp_path / "best" / "position.json").read_text())["step"] == 1


def test_a_folder_without_its_position_is_no_checkpoint(tmp_path, tokenizer):
    whole = save(tmp_path, tokenizer, 1)
    (tmp_path / "step-00000002").mkdir()
    assert latest_checkpoint(tmp_path) == whole
    assert latest_checkpoint(tmp_path / "missing") is None


def test_a_finished_trial_forgets_its_optimiser_and_keeps_its_student(tmp_path, tokenizer):
    save(tmp_path, tokenizer, 1)
    path = save(tmp_path, tokenizer, 2)
    drop_optimizer(tmp_path)
    drop_optimizer(tmp_path)
    assert [path] == list(tmp_path.iterdir())
    assert not (path / "optimizer.pt").exists()
    assert load_student(path) is not None


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut(path):
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize("damage", [flip, cut, Path.unlink], ids=["flipped", "cut", "gone"])
@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.pt", "position.json", "1_Dense/model.safetensors"])
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(name, damage, tmp_path, tokenizer, caplog):
    older = save(tmp_path, tokenizer, 1, Best(1, 0.2))
    newest = save(tmp_path, tokenizer, 2, Best(1, 0.2))
    assert sound_checkpoint(tmp_path) == newest
    if name == "position.json" and damage is not Path.unlink:
        (newest / name).write_text("{")
    else:
        damage(newest / name)
    mend_best(tmp_path)
    assert sound_checkpoint(tmp_path) == older
    if not (name == "position.json" and damage is Path.unlink):  # without it, it never was one
        assert f"event=damaged_checkpoint path={newest} files={name}" in caplog.text
    save(tmp_path, tokenizer, 3, Best(1, 0.2))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best", "step-00000002", "step-00000003"]


def test_steps_that_are_done_again_replace_what_was_damaged(tmp_path, tokenizer):
    save(tmp_path, tokenizer, 1)
    flip(save(tmp_path, tokenizer, 4) / "optimizer.pt")
    redone = save(tmp_path, tokenizer, 3)
    assert sound_checkpoint(tmp_path) == redone
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000001", "step-00000003"]


def test_where_all_are_damaged_the_training_begins_anew(tmp_path, tokenizer):
    flip(save(tmp_path, tokenizer, 1) / "optimizer.pt")
    assert sound_checkpoint(tmp_path) is None
    assert sound_checkpoint(tmp_path / "missing") is None


def test_a_checkpoint_cannot_run_code(tmp_path, tokenizer):
    path = save(tmp_path, tokenizer, 1)
    torch.save({"state": make_student()}, path / "optimizer.pt")
    with pytest.raises(Exception, match="weights_only|Weights only"):
        load_checkpoint(path, load_student, CONFIG)


def test_names_of_weights_do_not_depend_on_how_the_student_was_computed(tmp_path, tokenizer):
    state = make_state()
    state.model.encoder.compile(backend="eager")
    path = save_checkpoint(tmp_path, state, saves(tokenizer), {})
    assert list(weights(load_checkpoint(path, load_student, CONFIG)[0].model)) == list(weights(make_student()))
