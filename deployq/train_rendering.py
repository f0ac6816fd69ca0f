"""The result of training as text, and the keys of a recipe with what they mean."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from deployq.console import open_console
from deployq.sources import Preprocessing
from deployq.trainer import TrainingRecipe, TrainingResult
from deployq.trainer.contradictions import OF_METHOD


def print_result(result: TrainingResult) -> None:
    """A few lines: how far it came, and what lies where."""
    console, facts = open_console(), result.to_json()
    console.print(f"{result.output}: {result.epochs} epochs, {result.steps} optimizer steps")
    if facts["prepared"]:
        console.print(f"  {facts['prepared']}: {_which(result)}")
    if result.diverged is None:
        console.print(f"  {facts['last']}: epoch {result.epochs}")
        console.print(
            f"next: deployq export {result.output / facts['prepared']} --calib DATA -o BUNDLE"
        )
    else:
        console.print(f"stopped: {result.diverged}")
        console.print(f"  {facts['checkpoint']}: the last good state, as it was before")
        console.print("next: a lower rate, clip_norm, or a warm-up, in another folder")


def _which(result: TrainingResult) -> str:
    if result.best is None:
        return f"epoch {result.epochs}, the last: no validation data chose one"
    score = result.best.score
    return (
        f"epoch {result.best.epoch}, the best by validation: accuracy "
        f"{100 * score.accuracy:.2f} %, loss {score.loss:.4f}"
    )


def recipe_schema() -> dict[str, Any]:
    """The JSON Schema of a recipe, for editors."""
    return TrainingRecipe.model_json_schema()


def recipe_lines() -> list[str]:
    """A recipe in TOML with every key, its default and what it means.

    Keys without a default, tables that are left out by default and those of one method are
    comments.
    """
    plain, tables = _split(TrainingRecipe)
    lines = ["# every key of a recipe; keys that are comments have no default"]
    lines += [_line(name, field) for name, field in plain]
    for name, model in tables:
        lines += ["", *_table(name, model)]
    return lines


def _split(
    model: type[BaseModel],
) -> tuple[list[tuple[str, FieldInfo]], list[tuple[str, Any]]]:
    """Plain keys, and tables with their models."""
    plain, tables = [], []
    for name, field in model.model_fields.items():
        found = table_model(field.annotation)
        if found is None:
            plain.append((name, field))
        else:
            tables.append((name, found))
    return plain, tables


def table_model(annotation: Any) -> Any:
    """The model of a table, of an optional one, or of the entries of a list or of free keys."""
    options = [annotation, *getattr(annotation, "__args__", ())]
    tables = (o for o in options if o is Preprocessing or _is_model(o))
    return next(tables, None)


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _table(name: str, model: Any) -> Iterator[str]:
    field = TrainingRecipe.model_fields[name]
    header = {"layers": '[layers."pattern"]', "stages": "[[stages]]"}.get(name, f"[{name}]")
    absent = field.default is None or name in ("layers", "stages", *OF_METHOD)
    yield f"# {header}" if absent else header
    if model is Preprocessing:
        yield from (f"# {part.name} = ..." for part in fields(Preprocessing))
        return
    for key, part in model.model_fields.items():
        line = _line(key, part)
        yield f"# {line}" if absent and not line.startswith("#") else line


def _line(name: str, field: FieldInfo) -> str:
    meaning = f"  # {_meaning(field)}"
    if field.default is PydanticUndefined:
        return f"# {name} = ...{meaning} (required)"
    if field.default is None:
        return f"# {name} = ...{meaning}"
    return f"{name} = {_toml(field.default)}{meaning}"


def _toml(value: Any) -> str:
    """A default as TOML has it: JSON's text, with its lists and its true and false."""
    return json.dumps(list(value) if isinstance(value, tuple) else value)


def recipe_table() -> list[str]:
    """Every key with its default as a table in Markdown, for docs/training.md."""
    plain, tables = _split(TrainingRecipe)
    rows = list(plain)
    for table, model in tables:
        if model is not Preprocessing and table != "layers":
            rows += [(f"{table}.{key}", part) for key, part in model.model_fields.items()]
    lines = ["| key | default | meaning |", "| --- | --- | --- |"]
    return lines + [f"| `{name}` | {_default(field)} | {_meaning(field)} |" for name, field in rows]


def _default(field: FieldInfo) -> str:
    if field.default is PydanticUndefined:
        return "required"
    return "" if field.default is None else f"`{_toml(field.default)}`"


def _meaning(field: FieldInfo) -> str:
    return " ".join((field.description or "").split())
