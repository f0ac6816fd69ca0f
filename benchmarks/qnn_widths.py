"""Networks at other widths on Qualcomm HTP's emulator: code by code, and what they give.

    python -m benchmarks.qnn_widths [--models a,b] [--samples N]

W8A8, W4A8, W8A16 and W4A16, calibrated without corrections. ``different``: codes of the first
samples that the simulation, fed what HTP computed before, does not give. Then best classes over
all samples on ONNX Runtime and on HTP, with 95 % intervals. Exit code 1 where a code differs by
more than 1.
"""

from __future__ import annotations

import sys

import numpy as np
import onnx

from benchmarks.command import parser
from benchmarks.models.registry import chosen
from benchmarks.models.spec import ModelSpec
from benchmarks.part import Facts, Table, show
from benchmarks.qnn_runs import compare
from deployq import pipeline
from deployq.graph.recipe import Recipe
from deployq.progress import progress
from deployq.qgraph import read_graph
from deployq.qgraph.edges import feed
from deployq.verifier.proportion import wilson
from deployq_calibration.calibration_settings import CalibrationSettings
from deployq_exporters.dialects.dialect import translate
from deployq_exporters.dialects.qnn import QNN
from deployq_exporters.lowering import lower, to_proto
from deployq_exporters.runtimes import onnxruntime, qnn_htp
from deployq_targets import load_profile
from deployq_targets.words import Edges

COLUMNS = ("network", "widths", "codes", "different", "largest", "samples", "ONNX Runtime %",
           "HTP %", "same class", "outputs equal %")  # fmt: skip
NETWORKS, TARGET = "cifar10_mlperf_resnet8", "qnn-htp"
WIDTHS = ((8, 8), (4, 8), (8, 16), (4, 16))
CALIBRATED, COMPARED, SAMPLES = 256, 4, 128


def main() -> int:
    """Print a row for each network and widths, and a line of JSON."""
    flags = parser(__doc__)
    flags.add_argument("--samples", type=int, default=SAMPLES)
    arguments = flags.parse_args()
    specs = chosen(arguments.models or NETWORKS)
    found = []
    with progress(len(specs) * len(WIDTHS)) as advance:
        for spec in specs:
            for widths in WIDTHS:
                advance(f"{spec.name}, W{widths[0]}A{widths[1]}")
                found.append(measured(spec, *widths, arguments.samples))
    misses = [
        f"{one['network']}, {one['widths']}: codes differ by {one['largest']}"
        for one in found
        if one["largest"] > 1
    ]
    table = Table("Widths on Qualcomm HTP", COLUMNS, [_row(one) for one in found], found, misses)
    return show(table, "qnn_widths", arguments.json_out, samples=arguments.samples)


def measured(spec: ModelSpec, weights: int, activations: int, samples: int) -> Facts:
    """One network at these widths."""
    model, contract = _file(spec, weights, activations), load_profile(TARGET).contract()
    data, graph = spec.reporting().take(samples), read_graph(model)
    inputs, (output,) = feed(graph, data.inputs), graph.outputs
    few = {name: codes[:COMPARED] for name, codes in inputs.items()}
    tallies = compare(model, contract, few).values()
    labels = np.asarray(data.labels)
    other = onnxruntime.Session(model).run(inputs)[0][output].astype(np.int64)
    htp = qnn_htp.Session(model).run(inputs)[0][output].astype(np.int64)
    return {
        "network": spec.name, "widths": f"W{weights}A{activations}",
        "codes": sum(t.codes for t in tallies), "different": sum(t.different for t in tallies),
        "largest": max(t.largest for t in tallies), "samples": samples,
        "unknown": [t.operator for t in tallies if not t.codes],
        "onnxruntime": int((other.argmax(1) == labels).sum()),
        "htp": int((htp.argmax(1) == labels).sum()),
        "same_class": int((other.argmax(1) == htp.argmax(1)).sum()),
        "equal": float((other == htp).mean()), "apart": int(np.abs(other - htp).max()),
    }  # fmt: skip


def _file(spec: ModelSpec, weights: int, activations: int) -> onnx.ModelProto:
    recipe = Recipe(weight_bits=weights, activation_bits=activations)
    prepared = pipeline.prepare(spec.load(), [spec.example()], TARGET, recipe)
    settings = CalibrationSettings(corrections=())
    pipeline.calibrate(prepared, spec.calibration().take(CALIBRATED), settings)
    return translate(to_proto(lower(prepared, prepared.profile, Edges.FLOAT)), QNN)


def _row(one: Facts) -> tuple[str, ...]:
    count = one["samples"]
    shares = [
        "{:.1f} ({:.1f}..{:.1f})".format(
            100 * one[side] / count, *(100 * end for end in wilson(one[side], count))
        )
        for side in ("onnxruntime", "htp")
    ]
    return (
        one["network"], one["widths"], f"{one['codes']:,}", str(one["different"]),
        str(one["largest"]), str(count), *shares, str(one["same_class"]),
        f"{100 * one['equal']:.1f}",
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
