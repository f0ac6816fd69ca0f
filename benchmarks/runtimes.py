"""The matrix: every trained network in every runtime, each file for the target made for it.

    python -m benchmarks.runtimes [--models a,b] [--runtimes a,b] [--samples 512] [--calibration 64]
                                  [--work DIR]

A network is calibrated for the target without corrections, exported, and run in a process of its
own. Accepted is what compiled or ran. Missed: a code that is not that of the runtime's known
arithmetic, a runtime that failed, a network that is not accepted though the target took it. A
target that refuses a network is listed with its reason and is no miss. Accuracy is on reporting
samples. Exit code 1 where something was missed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from benchmarks.command import chosen_parts, parser, work_folder
from benchmarks.contenders import plain_bundle
from benchmarks.models.metrics import Top1
from benchmarks.models.registry import chosen
from benchmarks.models.spec import ModelSpec
from benchmarks.part import Facts, Table, show
from deployq.errors import DeployqError
from deployq.progress import progress
from deployq.runtimes.matrix import Matrix, MatrixSettings
from deployq.runtimes.row import Row, State
from deployq.verifier.evidence import Evidence
from deployq.verifier.metrics import TOP1
from deployq_exporters.adapters import ADAPTERS

COLUMNS = (
    "network", "runtime", "target", "state", "integer %", "samples", "codes",
    "not its contract's", "not the reference's", "best class", "top-1 %", "ms", "of ONNX Runtime",
)  # fmt: skip

TARGETS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "onnxruntime": ("ort-cpu",),
        "openvino": ("openvino-cpu",),
        "qnn-htp": ("qnn-htp",),
        "litert": ("litert-ref", "litert-optimized", "litert-xnnpack"),
        "ethos-u": ("ethos-u55-128", "ethos-u55-256", "ethos-u65-512", "ethos-u85-512"),
        "tensorrt": ("tensorrt",),
    }
)
"""Runtime to the targets that are made for it."""


@dataclass(frozen=True)
class Case:
    """One line of the matrix.

    Args:
        spec: the network.
        runtime: name of its adapter.
        target: builtin profile.
    """

    spec: ModelSpec
    runtime: str
    target: str


def main() -> int:
    """Print a line for each network and runtime, and a line of JSON."""
    flags = parser(__doc__)
    flags.add_argument("--runtimes", default=",".join(TARGETS))
    flags.add_argument("--samples", type=int, default=512)
    flags.add_argument("--calibration", type=int, default=64)
    flags.add_argument("--runs", type=int, default=50)
    given = flags.parse_args()
    runtimes = chosen_parts(given.runtimes, TARGETS)
    specs = chosen(given.models)
    cases = [Case(s, r, target) for s in specs for r in runtimes for target in TARGETS[r]]
    settings = MatrixSettings(given.samples, given.runs)
    found = list[tuple[Case, Row | str]]()
    with work_folder(given.work) as work, progress(len(cases)) as advance:
        for case in cases:
            advance(f"{case.spec.name}, {case.target}")
            found.append((case, measure(case, work, given.calibration, settings)))
    misses = [miss for case, row in found for miss in _misses(case, row)]
    rows, facts = [_cells(*one) for one in found], [_facts(*one) for one in found]
    table = Table("trained networks in each runtime", COLUMNS, rows, facts, misses)
    return show(table, "runtimes", given.json_out, calibration=given.calibration)


def measure(case: Case, work: Path, calibration: int, settings: MatrixSettings) -> Row | str:
    """What became of a network in a runtime, or why the target does not take it."""
    spec, path = case.spec, work / f"{case.spec.name}.{case.target}"
    try:
        plain_bundle(spec, case.target, path, calibration)
    except DeployqError as error:
        return f"{error.where}: {error.rule} [{error.found}]"
    metric = TOP1 if isinstance(spec.metric, Top1) else None
    matrix = Matrix(path, Evidence(path), spec.reporting(), metric, settings)
    return matrix.row(ADAPTERS[case.runtime])


def _misses(case: Case, row: Row | str) -> Iterator[str]:
    if isinstance(row, str) or row.state is State.NOT_RUN:
        return
    name = f"{case.spec.name}, {case.target}"
    yield from (f"{name}: {miss}" for miss in row.misses(named=True))
    if row.floats:
        yield f"{name}: {', '.join(row.floats)} outside integer kernels"


def _facts(case: Case, row: Row | str) -> Facts:
    head = {"model": case.spec.name, "runtime": case.runtime, "target": case.target}
    return {**head, "refused_by_target": row} if isinstance(row, str) else {**row.to_json(), **head}


def _cells(case: Case, row: Row | str) -> tuple[str, ...]:
    head = (case.spec.name, case.runtime, case.target)
    if isinstance(row, str) or not row.accepted:
        reason = row if isinstance(row, str) else f"{row.state}: {row.reason}"
        return (*head, reason, *["-"] * (len(COLUMNS) - 4))
    share, own, reference, top1 = row.integer_share, row.simulated, row.reference, row.top1
    return (
        *head, str(row.state), "-" if share is None else f"{100 * share:.1f}", str(row.samples),
        "-" if reference is None else str(reference.compared),
        "-" if own is None else str(own.different),
        "-" if reference is None else f"{reference.different} (by {reference.largest})",
        "-" if top1 is None else f"{top1.agree} of {top1.decided}",
        "-" if row.accuracy is None else f"{100 * row.accuracy:.2f}",
        "-" if row.median_ms is None else f"{row.median_ms:.3f}",
        "-" if row.ratio is None else f"{row.ratio:.2f}",
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
