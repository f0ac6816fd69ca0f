"""The command group ``deployq targets``: look at profiles without a model, or draft one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from deployq import flags

app = typer.Typer(no_args_is_help=True, help="List, show and compare target profiles.")

TargetArgument = Annotated[
    str, typer.Argument(help="A builtin profile, or the path of a TOML profile.")
]


@app.command("list")
def list_targets(as_json: flags.JsonOption = False) -> None:
    """The builtin profiles: widths, requantization, and whether models are prepared for them."""
    from deployq.targets_rendering import list_facts, print_list
    from deployq_targets import builtin_names, load_profile

    facts = [list_facts(load_profile(name)) for name in builtin_names()]
    if as_json:
        _print_json({"targets": facts})
    else:
        print_list(facts)


@app.command()
def show(target: TargetArgument, as_json: flags.JsonOption = False) -> None:
    """Every value of a profile, parents included, with its evidence and the file it comes from."""
    from deployq.targets_rendering import print_show, show_facts
    from deployq_targets.loader import load_stated

    loaded = load_stated(target)
    if as_json:
        _print_json(show_facts(loaded))
    else:
        print_show(loaded)


@app.command()
def diff(a: TargetArgument, b: TargetArgument, as_json: flags.JsonOption = False) -> None:
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


@app.command()
def infer(
    files: Annotated[
        list[Path], typer.Argument(help="QDQ or QOperator .onnx files that the target takes.")
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A new .toml file; standard output else.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Of the profile; that of the file.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    as_json: flags.JsonOption = False,
) -> None:
    """Draft a profile from files that a target is known to take, with what they leave open."""
    from deployq.drafts_rendering import draft_facts, print_draft
    from deployq.target_drafts import check_draft_path, infer_target, write_draft
    from deployq_targets.inference import draft_text

    if output is not None:
        check_draft_path(output, force)
        name = name or output.stem
    draft = infer_target(files, name)
    if output is not None:
        write_draft(draft, output)
    if as_json:
        _print_json(draft_facts(draft, output))
    elif output is not None:
        print_draft(draft, output)
    else:
        print(draft_text(draft), end="")


def _print_json(facts: dict[str, Any]) -> None:
    print(json.dumps(facts, indent=2))
