"""LiteRT against the simulator, code by code: sweeps full of ties, and trained networks.

    python -m benchmarks.litert_parity [--models a,b] [--targets litert-ref,...] [--work DIR]

Each target names the kernel set that it is the contract of. Each layer of the simulation is fed
the codes that LiteRT computed before it; end to end, both are fed the input alone. Exit code 1
where a code differs, where an operator compared fewer codes than CODES or took fewer than DISTINCT
distinct ones, or where XNNPACK computed nothing of its own set.

The optimised kernels compute grouped convolutions, and channels or elements that fill no vector,
one by one, and round otherwise there (docs/litert.md). Codes that differ from their profile and are
those of that arithmetic are explained, and counted apart under "one by one".
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from benchmarks.command import parser, work_folder
from benchmarks.contenders import bundle
from benchmarks.evidence_size import images_wanted
from benchmarks.litert_runs import (
    IN_FLOAT,
    Comparison,
    Tally,
    compare,
    compare_alone,
    kernels_of,
    merged,
)
from benchmarks.models.registry import chosen
from benchmarks.models.spec import ModelSpec
from benchmarks.part import Facts, Table, show
from benchmarks.sweeps import sweeps_of
from deployq.opened_file import open_file
from deployq.progress import progress
from deployq_exporters.runtimes.litert import Kernels
from deployq_exporters.vendor_files import VENDOR_FILES
from deployq_targets import TargetProfile, load_profile

COLUMNS = (
    "source", "target", "operator", "layers", "codes", "distinct", "different", "one by one",
    "delegated",
)  # fmt: skip
NETWORKS = "cifar10_mlperf_resnet8,kws_mlperf_dscnn,mnist_vit_prenorm,cifar10_vit_prenorm"
TARGETS = "litert-ref,litert-xnnpack,litert-optimized,litert-16x8,litert-16x8-optimized"
SWEEPS = "sweeps"
CODES, DISTINCT = 10_000, 32
"""Fewer of an operator's are thin evidence; of a network's operator only the distinct codes count.
"""
BATCH = 64
NOT_DELEGATED = ("AVERAGE_POOL_2D", "GELU", "HARD_SWISH", "MAXIMUM", "SOFTMAX")
"""Operators that XNNPACK leaves to the optimised kernels."""
FEW_IN_FLOAT = 0.001
"""Of the codes behind an operator in float, more than these are no ties."""
PARTLY = "BATCH_MATMUL"
"""One that it leaves where the second factor's zero point is not 0."""


def main() -> int:
    """Print a row for each operator, a row for each end, and a line of JSON."""
    flags = parser(__doc__)
    flags.add_argument("--targets", default=TARGETS)
    arguments = flags.parse_args()
    models = arguments.models or NETWORKS
    with work_folder(arguments.work) as work:
        table = litert_parity(work, models, arguments.targets)
    return show(table, "litert_parity", arguments.json_out)


def litert_parity(work: Path, models: str = NETWORKS, targets: str = TARGETS) -> Table:
    """A row for each source, kernel set and operator, and one for each end.

    Args:
        models, targets: names with commas.
    """
    profiles, specs = [load_profile(name) for name in targets.split(",")], chosen(models)
    results: list[Facts] = []
    with progress(len(profiles) * (1 + len(specs))) as advance:
        for profile in profiles:
            advance(f"{SWEEPS}, {profile.name}")
            sweeps = sweeps_of(profile.default_activation_bits)
            found = [compare_alone(s.graph, profile, s.inputs) for s in sweeps]
            results.append(_result(SWEEPS, profile, found))
            for spec in specs:
                advance(f"{spec.name}, {profile.name}")
                results.append(_result(spec.name, profile, measure(spec, profile, work)))
    misses = [f"{r['source']}, {r['target']}: {miss}" for r in results for miss in r["misses"]]
    rows = [row for result in results for row in _rows(result)]
    return Table("LiteRT = simulator", COLUMNS, rows, results, misses)


def measure(spec: ModelSpec, profile: TargetProfile, work: Path) -> list[Comparison]:
    """A network's file over reporting samples, as many as law 12 asks for, batch by batch."""
    path = bundle(spec, profile.name, work)
    content = (path / VENDOR_FILES["TFLite"].name).read_bytes()
    graph, data = open_file(path).graph, spec.reporting()
    few = data.take(min(len(data), images_wanted(path)))
    return [compare(graph, content, profile, (batch.inputs for batch in few.batches(BATCH)))]


def _result(source: str, profile: TargetProfile, found: list[Comparison]) -> Facts:
    tallies = merged(tally for comparison in found for tally in comparison.tallies)
    end_to_end = sum(comparison.end_to_end for comparison in found)
    return {
        "source": source, "target": profile.name, "kernels": kernels_of(profile).value,
        "operators": [asdict(tally) for tally in tallies], "end_to_end": end_to_end,
        "misses": list(_misses(source, kernels_of(profile), tallies, end_to_end)),
    }  # fmt: skip


def _misses(
    source: str, kernels: Kernels, tallies: Iterable[Tally], end_to_end: int
) -> Iterable[str]:
    if not tallies:
        yield "nothing was compared"
    explained = 0
    for tally in tallies:
        rounded = tally.codes * FEW_IN_FLOAT if tally.operator == IN_FLOAT else 0
        explained += tally.different if rounded else tally.scalar
        if tally.different > max(tally.scalar, rounded):
            yield f"{tally.operator}: {tally.different - tally.scalar} codes differ"
        if tally.distinct < DISTINCT or (source == SWEEPS and tally.codes < CODES):
            yield f"{tally.operator}: {tally.codes} codes, {tally.distinct} distinct, are thin"
        whole = 0 if tally.operator in NOT_DELEGATED else tally.layers
        if tally.operator == PARTLY and tally.delegated > 0:
            whole = tally.delegated
        if kernels is Kernels.XNNPACK and tally.delegated != whole:
            yield f"{tally.operator}: XNNPACK computed {tally.delegated} of {tally.layers}"
    if end_to_end and not explained:
        yield f"{end_to_end} codes differ end to end"


def _rows(result: Facts) -> list[tuple[str, ...]]:
    head = (result["source"], result["target"])
    rows = [
        (*head, o["operator"], str(o["layers"]), f"{o['codes']:,}", str(o["distinct"]),
         str(o["different"]), str(o["scalar"]), str(o["delegated"]))
        for o in result["operators"]
    ]  # fmt: skip
    return [*rows, (*head, "end to end", "", "", "", str(result["end_to_end"]), "", "")]


if __name__ == "__main__":
    sys.exit(main())
