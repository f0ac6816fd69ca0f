"""The command group ``deployq targets``: look at profiles without a model."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

app = typer.Typer(no_args_is_help=True, help="List, show and compare target profiles.")

TargetArgument = Annotated[
    str, typer.Argument(help="A builtin profile, or the path of a TOML profile.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]


@app.command("list")
def list_targets(as_json: JsonOption = False) -> None:
    """The builtin profiles: widths, requantization, and whether models are prepared for them."""
    from deployq.targets_rendering import list_facts, print_list
    from deployq_targets import builtin_names, load_profile

    facts = [list_facts(load_profile(name)) for name in builtin_names()]
    if as_json:
        _print_json({"targets": facts})
    else:
        print_list(facts)


@app.command()
def show(target: TargetArgument, as_json: JsonOption = False) -> None:
    """Every value of a profile, parents included, with its evidence and the file it comes from."""
    from deployq.targets_rendering import print_show, show_facts
    from deployq_targets.loader import load_stated

    loaded = load_stated(target)
    if as_json:
        _print_json(show_facts(loaded))
    else:
        print_show(loaded)


@app.command()
def diff(a: TargetArgument, b: TargetArgument, as_json: JsonOption = False) -> None:
    """The keys whose resolved values differ. A difference is no failure: exits 0."""
    from deployq.targets_rendering import diff_facts, print_diff
    from deployq_targets import load_profile

    facts = diff_facts(load_profile(a), load_profile(b))
    if as_json:
        _print_json(facts)
    else:
        print_diff(facts)


@app.command()
def schema() -> None:
    """The JSON Schema of a profile, for editors."""
    from deployq_targets import profile_json_schema

    _print_json(profile_json_schema())


def _print_json(facts: dict[str, Any]) -> None:
    print(json.dumps(facts, indent=2))
