"""Trained networks built to TensorRT engines, and what of them runs in int8. No device is needed.

    python -m benchmarks.tensorrt_builds [--models a,b] [--bits 8,4]

For each network and weight width: kernels, products (Conv, Gemm, MatMul) in int8, size of the plan.
A network whose sums read convolutions has a second row, "skip only": its file without Q and DQ
between one convolution and each sum. That file has other codes; it is built to compare the
kernels. Exit code 1 where a product of the first form does not run in int8.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import onnx

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
from deployq_exporters.runtimes.tensorrt_layers import PRODUCTS, coverage

COLUMNS = ("network", "weights", "file", "kernels", "products", "in int8", "plan, KB")
NETWORKS = "cifar10_mlperf_resnet8,cifar10_resnet20,kws_mlperf_dscnn,mnist_vit_prenorm"
CAPABILITIES = ("8.6",)
SAMPLES = 64
OWN, SKIP_ONLY = "deployq's", "skip only"


def main() -> int:
    """Print a row for each build and a line of JSON."""
    flags = parser(__doc__)
    flags.add_argument("--bits", default="8,4", help="widths of the weights, with commas")
    arguments = flags.parse_args()
    widths = [int(text) for text in arguments.bits.split(",")]
    specs = chosen(arguments.models or NETWORKS)
    results = [fact for spec in specs for bits in widths for fact in builds(spec, bits)]
    misses = [
        f"{fact['network']}: {', '.join(fact['others'])} not in int8"
        for fact in results
        if fact["others"] and fact["file"] == OWN
    ]
    rows = [_row(fact) for fact in results]
    table = Table(f"Engines of {find_package()}", COLUMNS, rows, results, misses)
    return show(table, "tensorrt_builds", arguments.json_out, package=str(find_package()))


def builds(spec: ModelSpec, bits: int) -> Iterator[Facts]:
    """The network's file, and where it has sums the same with the skip branch alone on codes."""
    prepared = pipeline.prepare(spec.load(), [spec.example()], "tensorrt", Recipe(weight_bits=bits))
    data = spec.calibration().take(SAMPLES)
    pipeline.calibrate(prepared, data, CalibrationSettings(corrections=()))
    model = translate(to_proto(lower(prepared, prepared.profile)), TENSORRT)
    for name, file in ((OWN, model), (SKIP_ONLY, skip_only(model))):
        if name == OWN or file != model:
            engine = build_engine(file, capabilities=CAPABILITIES)
            found = coverage(file, engine.layers)
            yield {
                "network": spec.name, "weights": bits, "file": name,
                "kernels": len(engine.layers), "in_int8": len(found.in_int8),
                "others": list(found.others), "plan_bytes": len(engine.plan),
                "warnings": list(engine.warnings),
            }  # fmt: skip


def skip_only(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose sums read one layer's reals, where a Q and a DQ stood between."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    makers = {node.output[0]: node for node in copy.graph.node}
    for node in copy.graph.node:
        if node.op_type != "Add":
            continue
        for index, name in enumerate(node.input):
            dequantize = makers.get(name)
            quantize = makers.get(dequantize.input[0]) if dequantize is not None else None
            layer = makers.get(quantize.input[0]) if quantize is not None else None
            if layer is not None and layer.op_type in PRODUCTS:
                node.input[index] = layer.output[0]
                break
    return copy


def _row(fact: Facts) -> tuple[str, ...]:
    products = fact["in_int8"] + len(fact["others"])
    return (
        fact["network"], str(fact["weights"]), fact["file"], str(fact["kernels"]), str(products),
        str(fact["in_int8"]), f"{fact['plan_bytes'] / 1e3:,.0f}",
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
