"""optical export RUN/TRIAL --out DIR"""

from __future__ import annotations

import argparse
import os
import shutil
from pathlib import Path

from optical_ray.artifacts import explain_full_disk
from optical_ray.cli.model_card import render_card
from optical_ray.cli.progress import make_console
from optical_ray.encoders.layout import STUDENT
from optical_ray.encoders.pretrained import load_tokenizer
from optical_ray.encoders.student_folder import load_student, save_student
from optical_ray.errors import RunFolderError
from optical_ray.recipe import Recipe
from optical_ray.runs.folder import RunFolder, TrialFolder
from optical_ray.training.checkpoint import checkpoint_to_evaluate


def export(options: argparse.Namespace) -> None:
    """Write the student of a finished trial with its model card."""
    run, trial = find_trial(options.trial)
    checkpoint = finished_checkpoint(trial, "exported")
    target: Path = options.out.absolute()
    _check_target(target, options.force)
    recipe = Recipe.read(trial.recipe)
    scratch = target.with_name(f".{target.name}.{os.getpid()}")
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with explain_full_disk(target.parent):
            student = load_student(checkpoint)
            # What was scored is what leaves: where the evaluation subtracts the teacher's mean token, so does the projection's bias.
            centred = recipe.evaluation.centre == "teacher-mean"
            save_student(
                student.centred() if centred else student, load_tokenizer(str(checkpoint)), recipe.student, scratch, centred=centred
            )
            (scratch / "README.md").write_text(render_card(run, trial, recipe, target.name), encoding="utf-8")
        _replace(scratch, target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    make_console().print(f"Model: {target}", soft_wrap=True)


def find_trial(path: Path) -> tuple[RunFolder, TrialFolder]:
    """The trial that a path names: its folder, `RUN/<trial id>`, or a run that has one trial only.

    Raises:
        RunFolderError: it names none, or several.
    """
    for folder in (path, path.parent / "trials" / path.name):
        if (folder / "recipe.json").is_file():
            trial = TrialFolder(folder.absolute())
            return RunFolder(trial.path.parent.parent), trial
    run = RunFolder(path.absolute())
    run.read_sweep()
    trials = list(run.trials())
    if len(trials) != 1:
        named = ", ".join(trial.trial_id for trial in trials[:5]) + (", ..." if len(trials) > 5 else "")
        found = f"has {len(trials)} trials ({named})" if trials else "has no trial yet"
        raise RunFolderError(f"{path}: {found}; name one: optical export {path}/trials/ID --out DIR")
    return run, trials[0]


def finished_checkpoint(trial: TrialFolder, done: str) -> Path:
    """The student that a finished trial is judged by.

    Args:
        trial: Whose.
        done: What was to be done with it, for the message: `exported`.

    Raises:
        RunFolderError: the trial has not finished, or its checkpoint is gone.
    """
    status = trial.read_status()
    state = "pending" if status is None else status.state
    if status is None or state != "finished":
        step = "" if status is None else f" at step {status.step} of {status.max_steps}"
        reason = f": {status.error}" if status is not None and status.error else ""
        advice = "wait for it, or run it again" if state in ("pending", "running") else "run it again; it goes on from its checkpoint"
        raise RunFolderError(f"{trial.path}: this trial is {state}{step}{reason}; only a finished one is {done}: {advice}")
    checkpoint = checkpoint_to_evaluate(trial.checkpoint, Recipe.read(trial.recipe).training.evaluate_checkpoint)
    if checkpoint is None:
        raise RunFolderError(
            f"{trial.checkpoint}: no checkpoint of this finished trial; it was deleted: run the trial again in another folder"
        )
    return checkpoint


def _check_target(target: Path, force: bool) -> None:
    """Only what an export wrote, or an empty folder, is ever replaced."""
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    if not (target / STUDENT).is_file():
        raise RunFolderError(f"{target}: is there and is no exported model; choose another --out")
    if not force:
        raise RunFolderError(f"{target}: is there already; choose another --out, or replace it with --force")


def _replace(scratch: Path, target: Path) -> None:
    aside = target.with_name(f".{target.name}.{os.getpid()}.old")
    if target.exists():
        os.replace(target, aside)
    os.replace(scratch, target)
    shutil.rmtree(aside, ignore_errors=True)
