"""Trained networks built to TensorRT engines, and what of them runs in int8. No device is needed.

    python -m benchmarks.tensorrt_builds [--models a,b] [--bits 8,4]

For each network and weight width: kernels, products (Conv, Gemm, MatMul) in int8, size of the plan.
Exit code 1 where a product does not run in int8.
"""

from __future__ import annotations

import sys

from benchmarks.command import parser
from benchmarks.models.registry import chosen
from benchmarks.models.spec import ModelSpec
from benchmarks.part import Facts, Table, show
from deployq import pipeline
from deployq.graph.recipe import Recipe
from deployq_calibration.calibration_settings import CalibrationSettings
from deployq_exporters.dialects import translate
from deployq_exporters.dialects.tensorrt import TENSORRT
from deployq_exporters.lowering import lower, to_proto
from deployq_exporters.runtimes.tensorrt import build_engine, find_package
from deployq_exporters.runtimes.tensorrt_layers import coverage

COLUMNS = ("network", "weights", "kernels", "products", "in int8", "plan, KB")
NETWORKS = "cifar10_mlperf_resnet8,cifar10_resnet20,kws_mlperf_dscnn,mnist_vit_prenorm"
CAPABILITIES = ("8.6",)
SAMPLES = 64


def main() -> int:
    """Print a row for each build and a line of JSON."""
    flags = parser(__doc__)
    flags.add_argument("--bits", default="8,4", help="widths of the weights, with commas")
    arguments = flags.parse_args()
    widths = [int(text) for text in arguments.bits.split(",")]
    specs = chosen(arguments.models or NETWORKS)
    results = [build(spec, bits) for spec in specs for bits in widths]
    misses = [
        f"{fact['network']}: {', '.join(fact['others'])} not in int8"
        for fact in results
        if fact["others"]
    ]
    rows = [_row(fact) for fact in results]
    table = Table(f"Engines of {find_package()}", COLUMNS, rows, results, misses)
    return show(table, "tensorrt_builds", arguments.json_out, package=str(find_package()))


def build(spec: ModelSpec, bits: int) -> Facts:
    """The network's file as an engine."""
    prepared = pipeline.prepare(spec.load(), [spec.example()], "tensorrt", Recipe(weight_bits=bits))
    data = spec.calibration().take(SAMPLES)
    pipeline.calibrate(prepared, data, CalibrationSettings(corrections=()))
    model = translate(to_proto(lower(prepared, prepared.profile)), TENSORRT)
    engine = build_engine(model, capabilities=CAPABILITIES)
    found = coverage(model, engine.layers)
    return {
        "network": spec.name, "weights": bits, "kernels": len(engine.layers),
        "in_int8": len(found.in_int8), "others": list(found.others),
        "plan_bytes": len(engine.plan), "warnings": list(engine.warnings),
    }  # fmt: skip


def _row(fact: Facts) -> tuple[str, ...]:
    products = fact["in_int8"] + len(fact["others"])
    return (
        fact["network"], str(fact["weights"]), str(fact["kernels"]), str(products),
        str(fact["in_int8"]), f"{fact['plan_bytes'] / 1e3:,.0f}",
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
