"""The loop: what it calls when, what it survives, and that a resumed training is the same training."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from operator import itemgetter

import pytest
import torch
from training import scenarios
from training.tiny import LANGUAGES, make_batch, make_objective, make_student, saves, stream, weights

from optical_ray.data.plan import Position
from optical_ray.encoders.student_folder import load_student
from optical_ray.errors import NumericsError
from optical_ray.runs import names
from optical_ray.training.checkpoint import latest_checkpoint, load_checkpoint, save_checkpoint
from optical_ray.training.config import TrainingConfig
from optical_ray.training.loop import Hooks, train
from optical_ray.training.objectives import Distillation
from optical_ray.training.parallel import Parallel
from optical_ray.training.state import start_training

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:multiprocessing")


class Recorder:
    """Hooks that write down what was called at which step."""

    def __init__(self, objectives=()):
        self.calls, self.objectives = [], dict(objectives)

    def hooks(self, save=lambda state: None):
        def validate(state):
            self.calls.append(("validate", state.step))
            return {names.VALID_SUCCESS_AT_1: self.objectives.get(state.step, 0.5)}

        def checkpoint(state):
            self.calls.append(("checkpoint", state.step))
            save(state)

        return Hooks(
            validate,
            itemgetter(names.VALID_SUCCESS_AT_1),
            lambda state, metrics: self.calls.append(("report", state.step)),
            checkpoint,
            lambda step, metrics: self.calls.append(("announce", step)),
            lambda: "none yet",
        )

    def of(self, what):
        return [step for name, step in self.calls if name == what]


def run(config, recorder=None, state=None, objective=None, save=lambda state: None, dropout=0.0):
    state = state or start_training(make_student(dropout), config)
    batches = stream(state.position, config.max_steps)
    train(state, batches, objective or make_objective(), config, Parallel(), 0, (recorder or Recorder()).hooks(save), LANGUAGES)
    return state


def test_hooks_are_called_when_they_are_due_and_at_the_end():
    recorder = Recorder({4: 0.5, 7: 0.4})
    run(TrainingConfig(max_steps=7, report_every=3, validate_every=4, checkpoint_every=5), recorder)
    assert recorder.of("report") == recorder.of("announce") == [3, 4, 6, 7]
    assert recorder.of("validate") == [4, 7]
    assert recorder.of("checkpoint") == [4, 5, 7], "the best validation so far makes one too, a worse one does not"
    assert recorder.calls[-4:] == [("validate", 7), ("report", 7), ("checkpoint", 7), ("announce", 7)]


def test_the_loss_falls_and_the_position_follows():
    recorder = Recorder()
    reports = []
    config = TrainingConfig(max_steps=30, learning_rate=0.02, report_every=1)
    state = start_training(make_student(), config)
    hooks = recorder.hooks()
    kept = Hooks(
        hooks.validate, hooks.judge, lambda state, metrics: reports.append(metrics), hooks.checkpoint, hooks.announce, hooks.last_checkpoint
    )
    batch = make_batch()
    batches = ((batch, Position(0, step + 1, 8 * (step + 1))) for step in range(30))
    train(state, batches, make_objective(), config, Parallel(), 0, kept, LANGUAGES)
    assert (state.step, state.position) == (30, Position(0, 30, 240))
    assert reports[-1][names.LOSS] < 0.7 * reports[0][names.LOSS]
    assert names.SKIPPED_STEPS not in reports[0]


def test_a_loss_that_is_no_number_ends_the_training_with_all_that_is_known():
    outcome = scenarios.train(Parallel(), steps=6, bad_step=3, skip_nonfinite=0)
    assert outcome["error"].startswith("step 4: worker 0, pairs from 0 of its part on: transport: NaN or infinite cost in pair 7")
    assert "; pairs of the batch: sw 5, ha 3; steps skipped before: 0 of training.skip_nonfinite=0; " in outcome["error"]
    assert "last good checkpoint: step-00000002; lower the learning rates" in outcome["error"]
    assert "\n" not in outcome["error"]
    good = scenarios.train(Parallel(), steps=3, bad_step=None, skip_nonfinite=0)
    assert outcome["step"] == 3
    assert all(value.isfinite().all() for value in outcome["weights"].values())
    assert good["step"] == 3


def test_an_infinite_gradient_is_found_before_the_step_is_taken():
    """The loss is finite, the gradient is not."""

    class Overflow(torch.autograd.Function):
        @staticmethod
        def forward(ctx, tokens):
            return tokens.clone()

        @staticmethod
        def backward(ctx, grad):
            return grad * torch.inf

    class Overflowing(Distillation):
        __slots__ = ()

        def price(self, student, batch, counts):
            return super().price(lambda ids, attention: Overflow.apply(student(ids, attention)), batch, counts)

    plain = make_objective()
    objective = Overflowing(plain.config, plain.cost, plain.solver, plain.group, plain.parallel)
    config = TrainingConfig(max_steps=3, skip_nonfinite=1)
    state = start_training(make_student(), config)
    before = weights(state.model)
    with pytest.raises(NumericsError, match=r"step 2: loss [0-9.]+, gradient norm (nan|inf); .* steps skipped before: 1 of"):
        run(config, state=state, objective=objective)
    assert all(torch.equal(value, before[name]) for name, value in weights(state.model).items())


def test_a_skipped_step_is_counted_and_leaves_the_student_as_it_was():
    outcome = scenarios.train(Parallel(), steps=6, bad_step=3, skip_nonfinite=1)
    assert (outcome["error"], outcome["step"], outcome["skipped"]) == (None, 6, 1)
    assert [metrics[names.SKIPPED_STEPS] for _, metrics in outcome["reports"]] == [0, 0, 0, 1, 1, 1]
    assert names.LOSS not in outcome["reports"][3][1]

    config = TrainingConfig(max_steps=4, learning_rate=0.01, weight_decay=0.1, report_every=1, skip_nonfinite=1, schedule="constant")
    state = start_training(make_student(), config)
    seen = []
    hooks = Recorder().hooks()
    kept = Hooks(
        hooks.validate, hooks.judge, lambda state, _: seen.append(weights(state.model)), hooks.checkpoint, hooks.announce, lambda: ""
    )

    def batches():
        for batch, after in stream(state.position, 4):
            if after.batch == 3:
                batch.teacher_BMD[0, 0] = torch.nan
            yield batch, after

    train(state, batches(), make_objective(), config, Parallel(), 0, kept, LANGUAGES)
    assert all(torch.equal(seen[2][name], value) for name, value in seen[1].items())
    assert any(not torch.equal(seen[3][name], value) for name, value in seen[2].items())


def test_two_workers_train_as_one_does_and_skip_together(two_workers):
    settings = {"steps": 5, "bad_step": 2, "skip_nonfinite": 1}
    alone = scenarios.train(Parallel(), **settings)
    main, other = two_workers.run(scenarios.train, *settings.values())
    assert main["skipped"] == other["skipped"] == alone["skipped"] == 1
    assert other["reports"] == []
    for name, value in alone["weights"].items():
        torch.testing.assert_close(main["weights"][name], value, atol=1e-7, rtol=1e-7)
        assert torch.equal(main["weights"][name], other["weights"][name])
    for (step, expected), (found_step, found) in zip(alone["reports"], main["reports"], strict=True):
        expected, found = ({name: value for name, value in row.items() if name != names.STEP_SECONDS} for row in (expected, found))
        assert found_step == step
        assert found == pytest.approx(expected, rel=1e-7, nan_ok=True)


def test_two_workers_end_together_on_a_loss_that_is_no_number(two_workers):
    main, other = two_workers.run(scenarios.train, 5, 2, 0)
    assert main["error"].startswith("step 3: worker 1, pairs from 0 of its part on: transport")
    assert "; pairs of the batch: sw 5, ha 3;" in main["error"]
    assert main["error"] == other["error"]
    assert main["step"] == other["step"] == 2


class Killed(Exception):
    """Stands for a kill: nothing of the step is left."""


@pytest.mark.parametrize("kill_at", [(4, 0), (4, 1), (6, 1)], ids=["before a step", "inside its accumulation", "on a checkpoint"])
def test_a_training_killed_inside_a_step_continues_bit_for_bit(tmp_path, kill_at, tokenizer):
    """In micro-batches, with dropout, from the newest checkpoint; so do its best validation and its count of skipped steps."""
    config = TrainingConfig(max_steps=9, learning_rate=0.01, report_every=2, validate_every=3, checkpoint_every=2, micro_groups=2)
    objectives = {3: 0.6, 6: 0.7, 9: 0.1}
    plain = make_objective()

    def save_to(folder):
        return lambda state: save_checkpoint(folder, state, saves(tokenizer), {"baseline": 0.25})

    whole = Recorder(objectives)
    expected = run(config, whole, save=save_to(tmp_path / "whole"), dropout=0.2)

    calls = []

    class Mortal(Distillation):
        __slots__ = ()

        def price(self, student, batch, counts):
            calls.append(len(calls))
            if divmod(calls[-1], 2) == kill_at:
                raise Killed
            return super().price(student, batch, counts)

    mortal = Mortal(plain.config, plain.cost, plain.solver, plain.group, plain.parallel)
    first, second = Recorder(objectives), Recorder(objectives)
    with pytest.raises(Killed):
        run(config, first, objective=mortal, save=save_to(tmp_path / "killed"), dropout=0.2)
    state, facts = load_checkpoint(latest_checkpoint(tmp_path / "killed"), load_student, config)
    assert facts == {"baseline": 0.25}
    assert state.step == state.position.batch == (6 if kill_at[0] == 6 else 4)
    found = run(config, second, state=state, save=save_to(tmp_path / "killed"))
    assert found.best == expected.best == (6, 0.7)
    for name, value in weights(expected.model).items():
        assert torch.equal(weights(found.model)[name], value), name
    for path in ("step-00000009", "best"):
        one, other = ((tmp_path / run / path / "model.safetensors").read_bytes() for run in ("whole", "killed"))
        assert one == other


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")  # torch's own, when its compiler is imported
@pytest.mark.filterwarnings("ignore:The distutils package:DeprecationWarning")  # the compiler asks it where Python lies
def test_a_compiled_encoder_trains_alike_and_keeps_the_names_of_its_weights():
    """In a process of its own: torch's compiler imports setuptools, which cannot be done once a test has imported distutils."""
    pytest.importorskip("torch._inductor.cpp_builder").get_cpp_compiler()
    config = TrainingConfig(max_steps=2, learning_rate=0.01)
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        plain, compiled = (process.submit(scenarios.train_alone, config.override({"compile": on})).result() for on in (False, True))
    assert (plain.is_compiled, compiled.is_compiled) == (False, True)
    assert list(compiled.names) == list(plain.names)
    for name, value in plain.weights.items():
        if "key.bias" not in name:  # its gradient is 0 but for rounding, of which AdamW makes steps
            torch.testing.assert_close(compiled.weights[name], value, atol=1e-4, rtol=1e-3)
