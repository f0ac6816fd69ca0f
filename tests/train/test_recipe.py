"""Recipes: every key with its default, and what is refused."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from deployq.errors import InputError
from deployq.graph.recipe import LayerRecipe, Recipe
from deployq.train_rendering import recipe_lines, recipe_schema, recipe_table
from deployq.trainer import TrainingRecipe, read_recipe
from deployq.trainer.recipe import recipe_facts
from tests.train.recipes import write_recipe


def test_paths_are_from_the_folder_of_the_file_and_facts_do_not_hold_folders(
    tmp_path: Path,
) -> None:
    recipe = read_recipe(write_recipe(tmp_path, weights="w.pt", target="own/chip.toml"))
    assert recipe.model == str(tmp_path / "plain.pt2") and recipe.target.startswith(str(tmp_path))
    assert recipe.data.train == str(tmp_path / "train.npz")
    assert str(tmp_path) not in str(recipe_facts(recipe))
    assert recipe_facts(recipe)["target"] == "chip.toml"


def test_names_of_code_and_of_builtin_targets_stay(tmp_path: Path) -> None:
    recipe = read_recipe(write_recipe(tmp_path, model="my.net:make"))
    assert recipe.model == "my.net:make" and recipe.target == "int8-npu"


def test_widths_of_a_stage_win_over_those_of_the_recipe(tmp_path: Path) -> None:
    text = '[layers."conv*"]\nweight_bits = 8\n[[stages]]\nepochs = 1\nweight_bits = 6'
    recipe = read_recipe(write_recipe(tmp_path, text=text, weight_bits=4, last_bits=8))
    layers = {"conv*": LayerRecipe(8)}
    assert recipe.widths() == Recipe(4, None, layers, None, 8)
    assert recipe.widths(recipe.stages[0]) == Recipe(6, None, layers, None, 8)


def test_the_printed_recipe_states_every_default(tmp_path: Path) -> None:
    lines = "\n".join(recipe_lines())
    stated = tomllib.loads(lines.replace("[data]", '[data]\ntrain = "train.npz"'))
    table = {"model": "plain.pt2", "target": "int8-npu", **stated}
    named = {"model": "plain.pt2", "target": "int8-npu", "data": {"train": "train.npz"}}
    whole = TrainingRecipe.model_validate(table, strict=False)
    assert whole == TrainingRecipe.model_validate(named, strict=False)
    assert all(f"{key} = " in lines or f"[{key}]" in lines or f'[{key}."' in lines
               for key in TrainingRecipe.model_fields)  # fmt: skip
    assert "SaqTable" in recipe_schema()["$defs"]


def test_the_printed_recipe_is_a_recipe(tmp_path: Path) -> None:
    lines = "\n".join(recipe_lines()).replace("[data]", '[data]\ntrain = "train.npz"')
    (tmp_path / "recipe.toml").write_text(f'model = "plain.pt2"\ntarget = "int8-npu"\n{lines}')
    assert read_recipe(tmp_path / "recipe.toml").method == "qat"
    table = "\n".join(recipe_lines()).partition("# [saq]\n")[2].partition("\n\n")[0]
    text = "[saq]\n" + "\n".join(line.removeprefix("# ") for line in table.splitlines())
    assert read_recipe(write_recipe(tmp_path, text=text, method="saq")).saq.look_rate == 0.7


@pytest.mark.parametrize("method", ["saq", "sam"])
def test_what_is_done_between_full_steps(method: str, tmp_path: Path) -> None:
    text = f"[{method}]\nevery = 2\nbetween = 'looksam'\nlook_rate = 0.5"
    recipe = read_recipe(write_recipe(tmp_path, text=text, method=method))
    assert getattr(recipe, method).look_rate == 0.5


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[optimizer]\nlearning_rate = 1", r"optimizer\.learning_rate.*no such key.*did you mean"),
        ("[[stages]]\nepochs = 1\nweight_bit = 4", r"stages\.0\.weight_bit.*0\.weight_bits\?"),
        ("[schedule]\nepoch = 3", r"schedule\.epoch:.*did you mean schedule\.epochs\?"),
        ("[data]\nvalidation = 'v.npz'", r"data\.train: a required key is missing"),
        ("[optimizer]\nrate = 0", r"optimizer\.rate:.*found: 0.*greater than 0"),
        ("[saq]\nradius = 0.0", r"saq\.radius:.*found: 0\.0.*greater than 0"),
        ("[saq]\nradius = -1.0", r"saq\.radius:.*found: -1\.0.*greater than 0"),
        ("[saq]\nradius = 0.1", r"saq: \[saq\] is the table of the method saq.*'qat'"),
        ("[saq]\nradius = 0.3\nevery = 1", r"found: method = 'qat' with saq\.radius, saq\.every"),
        ("[sam]", r"sam: \[sam\] is the table of the method sam.*'qat' with \[sam\]"),
        ("[optimizer]\nkind = 'adamw'\nmomentum = 0.5", r"optimizer\.momentum: .* of sgd"),
        ("[optimizer]\nmomentum = 0", r"optimizer\.nesterov: .*momentum = 0"),
        ("[schedule]\nmilestones = [2]", r"schedule\.milestones: .*of the kind step"),
        ("[schedule]\nkind = 'step'", r"schedule\.milestones: .*found: none"),
        ("[schedule]\nkind = 'step'\nmilestones = [9, 3]", r"milestones rise"),
        ("[schedule]\nepochs = 2\nwarmup_epochs = 2", r"schedule\.warmup_epochs: .*2 of 2"),
        ("[[stages]]\nepochs = 1", r"stages\[0\]: a stage has widths of its own"),
        ("[data]\ntrain = 'a'\nvalidation_labels = 'b'", r"data\.validation_labels: "),
        ("[data]\ntrain = 'a'\ncalibration = 'b'\ncalibration_samples = 3", "leave one of them"),
    ],
)
def test_keys_that_are_refused(text: str, expected: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"(?s)recipe.toml: .*{expected}"):
        read_recipe(write_recipe(tmp_path, text=text))


@pytest.mark.parametrize(
    ("keys", "text", "expected"),
    [
        ({"accumulate": 3}, "", "accumulate: .*16 samples in 3 parts"),
        ({"method": "adam"}, "", "method: .*'qat', 'saq', 'sam' or 'sqwa'"),
        ({"method": "saq"}, "[sqwa]\ncaptures = 7", r"sqwa: .*'saq' with sqwa\.captures"),
        ({"method": "saq"}, "[saq]\nbetween = 'reuse'", r"saq\.between: .*saq\.every = 1"),
        ({"method": "sam"}, "[sam]\nbetween = 'looksam'", r"sam\.between: .*sam\.every = 1"),
        (
            {"method": "saq"},
            "[saq]\nevery = 2\nbetween = 'reuse'\nlook_rate = 0.5",
            r"saq\.look_rate: look_rate is a setting of looksam.*look_rate = 0\.5 with",
        ),
        ({"method": "saq"}, "[saq]\nlook_rate = 0.0", r"saq\.look_rate: .*greater than 0"),
        ({"method": "sqwa"}, "", r"schedule\.epochs: the epochs of sqwa"),
        ({"method": "sqwa"}, "[sqwa]\nlow = 0.1\n[schedule]", r"sqwa\.low: .*low = 0\.1, high"),
        (
            {"method": "sqwa"},
            "[schedule]\n[[stages]]\nepochs = 1\nweight_bits = 4",
            "sqwa trains at one width",
        ),
        ({"label_smoothing": 0.1}, "[distillation]", "label_smoothing = 0.1 with"),
        ({"batch_size": 0}, "", "batch_size: .*greater than or equal to 1"),
    ],
)
def test_keys_that_contradict(
    keys: dict[str, object], text: str, expected: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=f"(?s){expected}"):
        read_recipe(write_recipe(tmp_path, text=text, **keys))


def test_the_page_has_the_table_of_all_keys() -> None:
    page = (Path(__file__).parents[2] / "docs/training.md").read_text()
    assert "\n".join(recipe_table()) in page
