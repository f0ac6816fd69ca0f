"""Qualcomm HTP's emulator against the simulator, code by code: sweeps, and trained networks.

    python -m benchmarks.qnn_parity [--models a,b] [--every N] [--work DIR]

Each node of the simulation is fed the codes that HTP computed before it. A network that qnn-htp
refuses is exported for ort-cpu, whose files have the same types; operators whose arithmetic the
profile does not know are listed and not compared, those that it has in float (a Softmax over more
than two, a LayerNormalization) beside reals, where 5 % of the codes may be up to 2 apart. Exit code
1 where another code differs, and where nothing was compared. QuantizeLinear of reals is listed
apart: the provider rounds them to fewer bits first (docs/qnn.md).
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import asdict
from itertools import islice
from pathlib import Path

import onnx

from benchmarks.command import parser, work_folder
from benchmarks.contenders import bundle
from benchmarks.models.registry import chosen
from benchmarks.models.spec import ModelSpec
from benchmarks.part import Facts, Table, show
from benchmarks.qnn_runs import IN_FLOAT, Tally, compare, merged
from benchmarks.sweeps.qdq import qdq_file
from benchmarks.sweeps.sweep import Sweep
from benchmarks.sweeps.unsigned import unsigned_sweeps
from benchmarks.sweeps.unsigned_wide import tied_sums, widths
from deployq.errors import InputError, UnsupportedError
from deployq.progress import progress
from deployq_targets import load_profile

COLUMNS = ("source", "file of", "operator", "layers", "codes", "distinct", "different", "share")
NETWORKS = (
    "cifar10_resnet20,cifar10_mlperf_resnet8,kws_mlperf_dscnn,mnist_vit_prenorm,cifar10_vit_prenorm"
)
TARGET, OTHER = "qnn-htp", "ort-cpu"
SWEEPS = {"sweeps": unsigned_sweeps, "sweeps of widths": widths, "tied mantissas": tied_sums}
REALS = "QuantizeLinear"
SAMPLES = 20
NEAR, FEW = 2, 0.05


def main() -> int:
    """Print a row for each operator and a line of JSON."""
    flags = parser(__doc__)
    flags.add_argument("--every", type=int, default=1, help="take every Nth sweep")
    arguments = flags.parse_args()
    with work_folder(arguments.work) as work:
        table = qnn_parity(work, arguments.models or NETWORKS, arguments.every)
    return show(table, "qnn_parity", arguments.json_out)


def qnn_parity(work: Path, models: str = NETWORKS, every: int = 1) -> Table:
    """A row for each source and operator.

    Args:
        models: names with commas.
        every: take every Nth sweep.
    """
    specs = chosen(models)
    with progress(len(SWEEPS) + len(specs)) as advance:
        results = []
        for name, every_sweep in SWEEPS.items():
            advance(name)
            results.append(sweeps(name, every_sweep(), every))
        for spec in specs:
            advance(spec.name)
            results.append(network(spec, work))
    misses = [f"{result['source']}: {miss}" for result in results for miss in result["misses"]]
    rows = [row for result in results for row in _rows(result)]
    return Table("Qualcomm HTP's emulator = simulator", COLUMNS, rows, results, misses)


def sweeps(name: str, swept: Iterable[Sweep], every: int = 1) -> Facts:
    """Every operator alone, over scales and zero points that make ties."""
    contract, found, refused = load_profile(TARGET).contract(), list[Tally](), 0
    for sweep in islice(swept, 0, None, every):
        try:
            found += compare(qdq_file(sweep), contract, sweep.inputs).values()
        except InputError:  # shapes that the provider has no kernel for
            refused += 1
    return _result(name, "", found) | {"refused": refused}


def network(spec: ModelSpec, work: Path) -> Facts:
    """Every layer of a network's file over the first reporting samples."""
    target = TARGET
    try:
        path = bundle(spec, TARGET, work)
    except UnsupportedError:
        target, path = OTHER, bundle(spec, OTHER, work)
    model, data = onnx.load(path / "model.onnx"), spec.reporting().take(SAMPLES)
    names = [value.name for value in model.graph.input]
    inputs = dict(zip(names, data.inputs.values(), strict=True))
    found = compare(model, load_profile(TARGET).contract(), inputs)
    return _result(spec.name, target, found.values())


def _result(source: str, target: str, found: Iterable[Tally]) -> Facts:
    tallies = merged(found)
    misses = [
        f"{tally.operator}: {tally.different} codes differ, by {tally.largest} at most"
        for tally in tallies
        if tally.operator != REALS and not _is_near(tally)
    ]
    compared = sum(tally.codes for tally in tallies if tally.operator != REALS)
    if not compared:
        misses.append("nothing was compared")
    operators = [asdict(tally) for tally in tallies]
    return {"source": source, "target": target, "operators": operators, "misses": misses}


def _is_near(tally: Tally) -> bool:
    """No code differs, or few by little beside reals, where HTP's codes are not known."""
    few = tally.different <= FEW * tally.codes and tally.largest <= NEAR
    return not tally.different or (tally.operator.endswith(IN_FLOAT) and few)


def _rows(result: Facts) -> list[tuple[str, ...]]:
    head = (result["source"], result["target"])
    return [
        (*head, o["operator"], str(o["layers"]), f"{o['codes']:,}", str(o["distinct"]),
         str(o["different"]), f"{o['different'] / o['codes']:.1e}" if o["codes"] else "unknown")
        for o in result["operators"]
    ]  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
