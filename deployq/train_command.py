"""The command ``deployq train``: train by a recipe."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from deployq.errors import InputError
from deployq.progress import training_progress


def train(
    recipe: Annotated[Path | None, typer.Argument(help="A recipe in TOML.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder of the run.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the checkpoint in the output folder.")
    ] = False,
    tensorboard: Annotated[
        Path | None, typer.Option(help="Also write event files for TensorBoard into this folder.")
    ] = None,
    print_recipe: Annotated[
        bool, typer.Option("--print-recipe", help="Print every key of a recipe with its default.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object; of a recipe, its JSON Schema.")
    ] = False,
) -> None:
    """Train a network on the target's grid by a RECIPE; OUTPUT/prepared is for export.

    Exits 1 where training diverged; the last good checkpoint stays. For several processes:
    torchrun --nproc-per-node N -m deployq train RECIPE -o OUTPUT.
    """
    from deployq.train_rendering import print_result, recipe_lines, recipe_schema
    from deployq.trainer import train_recipe

    if print_recipe:
        text = json.dumps(recipe_schema(), indent=2) if as_json else "\n".join(recipe_lines())
        print(text)
        return
    if recipe is None or output is None:
        raise InputError(
            "deployq train",
            "training needs a recipe and a folder to write into",
            found="no recipe" if recipe is None else "no --output",
            next_step="deployq train recipe.toml -o run; --print-recipe shows every key",
        )
    with training_progress() as reporter:
        result = train_recipe(
            recipe, output, resume=resume, tensorboard=tensorboard, reporter=reporter
        )
    if not result.first:
        raise typer.Exit(result.exit_code)
    if as_json:
        print(json.dumps(result.to_json(), indent=2, sort_keys=True))
    else:
        print_result(result)
    raise typer.Exit(result.exit_code)
