"""The command ``deployq runtimes``, and what ``deployq verify --runtime`` prints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from deployq import flags

if TYPE_CHECKING:
    from deployq.sources import DataRequest


def runtimes(as_json: flags.JsonOption = False) -> None:
    """The runtimes that deployq drives: what is installed, or the command that installs it."""
    from deployq.runtimes.rendering import list_facts, print_list
    from deployq_exporters.adapters import ADAPTERS

    facts = list_facts(ADAPTERS)
    if as_json:
        print(json.dumps({"runtimes": facts}, indent=2, sort_keys=True))
    else:
        print_list(facts)


def verify_runtimes(
    bundle: Path,
    request: DataRequest,
    names: str,
    metric: str | None,
    *,
    runs: int,
    limit_seconds: float,
    as_json: bool,
) -> int:
    """Run a bundle in the named runtimes and print the matrix; the exit code.

    Args:
        request: of the data.
        names: with commas, or ``all``.
        metric: of ``deployq verify``.

    Raises:
        InputError: no such runtime, a broken bundle, or data that does not fit.
    """
    from deployq import jobs
    from deployq.progress import progress
    from deployq.runtimes.matrix import Matrix, MatrixSettings
    from deployq.runtimes.rendering import matrix_facts, print_matrix
    from deployq.verifier.metrics import choose_metric
    from deployq_exporters.adapters import ALL, find_adapters

    adapters = find_adapters(names)
    with progress(total=None) as advance:
        evidence, data = jobs.open_for_verification(bundle, request, advance)
    chosen = choose_metric(metric, data)
    settings = MatrixSettings(runs=runs, limit_seconds=limit_seconds)
    with progress(len(adapters)) as advance:
        matrix = Matrix(bundle, evidence, data, chosen, settings)
        rows = matrix.rows(adapters, advance)
    misses = [miss for row in rows for miss in row.misses(named=names != ALL)]
    called = "" if chosen is None else chosen.name
    if as_json:
        print(json.dumps(matrix_facts(rows, called, misses), indent=2, sort_keys=True))
    else:
        print_matrix(bundle.resolve().name, rows, called, misses)
    return int(bool(misses))
