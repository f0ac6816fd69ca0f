"""The command ``deployq check``: hold a file against a profile."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from deployq.errors import InputError


def check(
    source: Annotated[
        Path | None, typer.Argument(help="A QDQ or QOperator .onnx file, or a bundle.")
    ] = None,
    target: Annotated[
        str | None,
        typer.Option("--target", "-t", help="A builtin profile, or the path of a TOML profile."),
    ] = None,
    explain: Annotated[
        str | None, typer.Option(help="Print one rule, why hardware has it, and its source.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """What in a file a target does not take, rule by rule.

    Exits 1 when there is an error among the findings.
    """
    from deployq import pipeline
    from deployq.check_rendering import check_facts, explained, print_findings
    from deployq_targets import load_profile

    if explain is not None:
        print(explained(explain, None if target is None else load_profile(target)))
        return
    if source is None or target is None:
        raise InputError(
            "deployq check",
            "a check needs a file and a target",
            found="no file" if source is None else "no --target",
            next_step="deployq check model.onnx --target int8-npu",
        )
    profile = load_profile(target)
    findings = pipeline.check(source, profile)
    facts = check_facts(source, profile, findings)
    if as_json:
        print(json.dumps(facts, indent=2))
    else:
        print_findings(facts)
    raise typer.Exit(int(facts["errors"] > 0))
