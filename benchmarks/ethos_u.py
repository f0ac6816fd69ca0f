"""What Vela makes of the convolutional networks on Arm Ethos-U: operators, cycles, memory.

    python -m benchmarks.ethos_u [--models NAMES] [--targets NAMES] [--work FOLDER]

All figures are Vela's estimate, under the assumptions of the last column; nothing is measured. A
network that TFLite cannot say is listed. Exit code 1: an operator is left to the processor.
"""

from __future__ import annotations

import sys

from benchmarks.command import parser, work_folder
from benchmarks.latency_model import bundle, of
from benchmarks.models.registry import chosen
from benchmarks.part import Facts, Table, show
from deployq.errors import UnsupportedError
from deployq.opened_file import open_file
from deployq.progress import progress
from deployq.simulator.shapes import code_shapes
from deployq_exporters.runtimes.ethos_u import compile_by_vela
from deployq_exporters.runtimes.vela_report import VelaReport
from deployq_exporters.tflite import write_tflite
from deployq_targets import load_profile

TARGETS = "ethos-u55-128,ethos-u55-256,ethos-u65-512,ethos-u85-512"
COLUMNS = (
    "network", "target", "on Ethos-U", "on the processor", "cycles", "ms", "SRAM KiB", "DRAM KiB",
    "flash KiB", "file KB", "assumed",
)  # fmt: skip


def main() -> int:
    """Run what the flags name; the exit code."""
    flags = parser(__doc__)
    flags.add_argument("--targets", default=TARGETS, help="names with commas")
    given = flags.parse_args()
    rows, found, left_out = list[tuple[str, ...]](), list[Facts](), dict[str, str]()
    specs = chosen(given.models)
    with work_folder(given.work) as work, progress(len(specs)) as advance:
        for spec in specs:
            advance(spec.name)
            opened = open_file(bundle(of(spec), work))
            shapes = code_shapes(opened.model, opened.graph)
            assert shapes is not None, spec.name
            try:
                content = write_tflite(opened.graph, shapes)
            except UnsupportedError as error:
                left_out[spec.name] = " ".join(str(error).split())
                continue
            for name in given.targets.split(","):
                output = compile_by_vela(content, load_profile(name))
                rows.append(row(spec.name, name, output.report, len(output.file)))
                found.append(facts(spec.name, name, output.report))
    for name, reason in left_out.items():
        print(f"NO .tflite FILE {name}: {reason}")
    misses = [
        f"{f['network']}, {f['target']}: on the processor {', '.join(f['processor'])}"
        for f in found
        if f["processor"]
    ]
    table = Table("Ethos-U by Vela's estimate, nothing measured", COLUMNS, rows, found, misses)
    return show(table, "ethos_u", given.json_out, left_out=left_out)


def row(network: str, target: str, report: VelaReport, size: int) -> tuple[str, ...]:
    """One compilation for people."""
    memory = (report.sram_bytes, report.dram_bytes, report.flash_bytes)
    return (
        network, target, str(len(report.npu)), ", ".join(o.kind for o in report.cpu) or "0",
        f"{report.cycles.total:,}", f"{1e3 * report.seconds:.3f}",
        *(f"{part / 1024:,.1f}" for part in memory), f"{size / 1e3:,.1f}", report.assumed,
    )  # fmt: skip


def facts(network: str, target: str, report: VelaReport) -> Facts:
    """One compilation as data."""
    return {
        "network": network, "target": target, "on_ethos_u": len(report.npu),
        "processor": [operator.kind for operator in report.cpu], "cycles": report.cycles.total,
        "seconds": report.seconds, "sram_bytes": report.sram_bytes,
        "dram_bytes": report.dram_bytes, "flash_bytes": report.flash_bytes,
        "assumed": report.assumed,
    }  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
