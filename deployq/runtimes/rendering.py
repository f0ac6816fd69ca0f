"""The matrix and the list of runtimes as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from deployq.console import open_console
from deployq.runtimes.row import Row, State
from deployq_exporters.adapters import Adapter, presence

NONE = "-"
MATRIX = (
    "runtime", "version", "state", "integer", "codes", "not its contract's", "not the reference's",
    "best class", "metric", "ms", "of ONNX Runtime",
)  # fmt: skip


def print_matrix(name: str, rows: Sequence[Row], metric: str, misses: Sequence[str]) -> None:
    """One line a runtime; then why one came no further, and which is the fastest.

    Args:
        name: of the bundle.
        metric: what accuracy is; empty where nothing was measured.
    """
    console = open_console(160)
    table = Table(title=f"{name} in each runtime", title_justify="left")
    for number, column in enumerate(columns(metric)):
        table.add_column(column, justify="left" if number < 3 else "right", no_wrap=number == 0)
    for row in rows:
        table.add_row(*cells(row, metric))
    console.print(table)
    for row in rows:
        if row.reason:
            console.print(f"{row.runtime}: {row.reason}{row.install and f'; {row.install}'}")
        if row.state is State.COMPILED:
            console.print(f"{row.runtime}: {told(row)}")
        if row.floats:
            console.print(f"{row.runtime}, outside integer kernels: {', '.join(row.floats)}")
    for line in [
        *fastest(rows),
        *(Text.assemble(("limit missed", "bold"), f" {m}") for m in misses),
    ]:
        console.print(line)


def columns(metric: str) -> tuple[str, ...]:
    """:data:`MATRIX` with the metric's own name."""
    return tuple((metric or name) if name == "metric" else name for name in MATRIX)


def cells(row: Row, metric: str) -> tuple[str, ...]:
    """One line, under :data:`MATRIX`."""
    own, reference, top1 = row.simulated, row.reference, row.top1
    share = NONE if row.integer_share is None else f"{100 * row.integer_share:.1f} %"
    classes = NONE if top1 is None else f"{top1.agree} of {top1.decided}{_within(row.agreement)}"
    return (
        row.runtime, row.version or NONE, str(row.state), share,
        NONE if reference is None else f"{reference.compared:,}",
        NONE if own is None else f"{own.different:,}",
        NONE if reference is None else f"{reference.different:,} (by {reference.largest})",
        classes, f"{_figure(row.accuracy, metric)}{_within(row.accuracy_interval)}",
        NONE if row.median_ms is None else f"{row.median_ms:.3f}",
        NONE if row.ratio is None else f"{row.ratio:.2f}",
    )  # fmt: skip


def _figure(value: float | None, metric: str) -> str:
    if value is None:
        return NONE
    return f"{100 * value:.2f} %" if metric == "top-1" else f"{value:.6g}"


def _within(interval: tuple[float, float] | None) -> str:
    return "" if interval is None else " ({:.1f} to {:.1f} %)".format(*(100 * x for x in interval))


def told(row: Row) -> str:
    """What a compiler says of its file, in its own words."""
    facts = {key: value for key, value in row.facts.items() if value not in ([], (), None)}
    return ", ".join(f"{key} {value}" for key, value in facts.items())


def fastest(rows: Sequence[Row]) -> list[str]:
    """Which runtime serves the bundle best here, by the times taken in turn."""
    timed = [(row.ratio, row.runtime) for row in rows if row.ratio is not None]
    return [f"fastest on this machine: {min(timed)[1]}"] if len(timed) > 1 else []


def list_facts(adapters: Mapping[str, Adapter]) -> list[dict[str, Any]]:
    """What is known of each runtime without loading it."""
    facts = []
    for adapter in adapters.values():
        found = presence(adapter)
        facts.append({
            "runtime": adapter.name, "title": adapter.title, "version": found.version,
            "problem": found.problem, "install": adapter.install, "licence": adapter.licence,
            "runs_here": adapter.computes(), "file": adapter.file_name,
        })  # fmt: skip
    return facts


def print_list(facts: Sequence[Mapping[str, Any]]) -> None:
    """One line a runtime."""
    table = Table(title="runtimes", title_justify="left")
    for column in ("runtime", "what it is", "installed", "file in a bundle", "licence"):
        table.add_column(column, no_wrap=column == "runtime")
    for entry in facts:
        installed = entry["version"] if not entry["problem"] else entry["install"]
        table.add_row(
            entry["runtime"], entry["title"], installed, entry["file"], entry["licence"]
        )  # fmt: skip
    open_console(160).print(table)


def matrix_facts(rows: Sequence[Row], metric: str, misses: Sequence[str]) -> dict[str, Any]:
    """Plain data for ``--json``."""
    accepted = sum(row.accepted for row in rows)
    return {
        "rows": [row.to_json() for row in rows], "metric": metric, "accepted": accepted,
        "not_run": [row.runtime for row in rows if row.state is State.NOT_RUN],
        "misses": list(misses), "exit_code": int(bool(misses)),
    }  # fmt: skip
