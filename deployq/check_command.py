"""The command ``deployq check``: hold a file against a profile."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deployq.errors import InputError

if TYPE_CHECKING:
    from deployq_targets import TargetProfile


class Format(StrEnum):
    """What is printed or written; the words of ``deployq.check_formats`` and a table."""

    TABLE = "table"
    JSON = "json"
    SARIF = "sarif"
    JUNIT = "junit"


def check(
    source: Annotated[
        Path | None, typer.Argument(help="A QDQ or QOperator .onnx file, or a bundle.")
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            "--target", "-t", help="A builtin profile, or the path of a TOML one; a bundle's own."
        ),
    ] = None,
    explain: Annotated[
        str | None, typer.Option(help="Print one rule, why hardware has it, and its source.")
    ] = None,
    form: Annotated[
        Format | None,
        typer.Option("--format", help="A table, JSON, SARIF 2.1.0 or JUnit XML."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write to this file, and print a line.")
    ] = None,
) -> None:
    """What in a file a target does not take, rule by rule.

    Exits 1 when there is an error among the findings.
    """
    from deployq import pipeline
    from deployq.check_formats import FORMATS
    from deployq.check_rendering import check_facts, explained, print_findings, print_totals
    from deployq.whole_file import check_writable, write_whole
    from deployq_targets import load_profile

    if explain is not None:
        print(explained(explain, None if target is None else load_profile(target)))
        return
    if source is None or (target is None and not source.is_dir()):
        raise InputError(
            "deployq check",
            "a check needs a file and a target",
            found="no file" if source is None else "no --target",
            next_step="deployq check model.onnx --target int8-npu",
        )
    chosen = _chosen(form, as_json, output)
    if output is not None:
        _refuse_source(source, output)
        check_writable(output, "report")
    profile = _own_profile(source) if target is None else load_profile(target)
    findings = pipeline.check(source, profile)
    facts = check_facts(source, profile, findings)
    if chosen is Format.TABLE:
        print_findings(facts)
    elif output is None:
        print(FORMATS[chosen](source, profile, findings), end="")
    else:
        write_whole(output, FORMATS[chosen](source, profile, findings), "report")
        print_totals(facts)
    raise typer.Exit(int(facts["errors"] > 0))


def _own_profile(bundle: Path) -> TargetProfile:
    """Of a bundle whose files are unchanged.

    Raises:
        InputError: no such bundle.
    """
    from deployq.bundle import read_bundle
    from deployq.graph.prepared_files import load_prepared_model

    read_bundle(bundle)
    return load_prepared_model(bundle).profile


def _refuse_source(source: Path, output: Path) -> None:
    if output.exists() and source.exists() and output.samefile(source):
        raise InputError(
            "--output", "a report does not replace the file that it is about",
            found=str(output), next_step="name another path",
        )  # fmt: skip


def _chosen(form: Format | None, as_json: bool, output: Path | None) -> Format:
    if as_json and form not in (None, Format.JSON):
        raise InputError(
            "--json", "a report has one format", found=f"--json and --format {form}",
            next_step="leave one of them out",
        )  # fmt: skip
    chosen = Format.JSON if as_json else form or Format.TABLE
    if output is not None and chosen is Format.TABLE:
        raise InputError(
            "--output", "a table is printed, not written", found=str(output),
            allowed="--format json, sarif or junit",
            next_step="--format sarif, or redirect the output",
        )  # fmt: skip
    return chosen
