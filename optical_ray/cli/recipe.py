"""optical recipe fields | show"""

from __future__ import annotations

import argparse
import json

from rich.padding import Padding
from rich.text import Text

from optical_ray.cli.progress import make_console
from optical_ray.config import Config, describe_fields, parse_override
from optical_ray.recipe import Recipe, Resources


def fields(options: argparse.Namespace) -> None:
    """Every field of a recipe, and of the resources beside it."""
    console = make_console()
    recipe: type[Config] = Recipe
    if options.teacher:
        from optical_ray.teaching.recipe import TeacherRecipe

        recipe = TeacherRecipe
    for model, title in ((recipe, "Recipe: what determines the numbers"), (Resources, "Resources: where it runs")):
        console.print(Text(title, style="bold underline"))
        for name, kind, default, meaning in describe_fields(model):
            console.print(Text.assemble((name, "bold"), f" = {default}  ", (kind, "dim")))
            console.print(Padding(Text(meaning), (0, 0, 0, 4)))


def show(options: argparse.Namespace) -> None:
    """A recipe as JSON."""
    base = Recipe()
    if options.sweep is not None:
        from optical_ray.cli.sweep import load_sweep

        base = load_sweep(options.sweep).base
    recipe = base.override(dict(parse_override(text) for text in options.overrides))
    print(json.dumps(recipe.to_dict(), indent=2, ensure_ascii=False))
