"""The page of a bundle in every runtime. The same rows give the same bytes."""

from __future__ import annotations

from collections.abc import Sequence

from deployq.html_report.page import templates
from deployq.runtimes.rendering import cells, columns, fastest, told
from deployq.runtimes.row import Row, State

TEMPLATE = "matrix.html"


def render_matrix(rows: Sequence[Row], name: str, metric: str, misses: Sequence[str]) -> str:
    """The matrix as HTML: verdict, table, and what each runtime said. Nothing is fetched.

    Args:
        name: of the bundle.
        metric: what accuracy is; empty where nothing was measured.
        misses: limits that were missed, a sentence each.
    """
    return (
        templates()
        .get_template(TEMPLATE)
        .render(
            name=name,
            misses=misses,
            accepted=sum(row.accepted for row in rows),
            columns=columns(metric),
            lines=[(row, cells(row, metric)) for row in rows],
            notes=[(row.runtime, note) for row in rows for note in _notes(row)],
            fastest=fastest(rows),
        )
    )


def _notes(row: Row) -> list[str]:
    """Why a runtime came no further, what its tool says, and what ran in float."""
    found = [f"{row.reason}{row.install and f'; {row.install}'}"] if row.reason else []
    if row.state is State.COMPILED or row.facts:
        found += [told(row)] if told(row) else []
    if row.first:
        found.append(f"the first tensor with another code: {row.first}")
    return found + ([f"outside integer kernels: {', '.join(row.floats)}"] if row.floats else [])
