"""What Qualcomm HTP's arithmetic costs a network, and what it gives back.

    python -m benchmarks.qnn_recovery [--models a,b] [--samples N] [--work DIR]

Four files of each network, calibrated on the same samples: as for ONNX Runtime (``ort-cpu``), with
the weight scales that HTP's short multiplier represents (``qnn-htp``), the latter with half of what
its convolutions drop added to the biases (``centred``), and with scales that a short search chose
on choosing samples under the simulator's arithmetic (``searched``). Each runs on ONNX Runtime and
on HTP's emulator over the same reporting samples; the simulation has to give HTP's codes.
Exit code 1 where it does not.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import torch

from benchmarks.command import parser, work_folder
from benchmarks.contenders import bundle, plain_bundle
from benchmarks.models.registry import chosen
from benchmarks.models.spec import ModelSpec
from benchmarks.part import Facts, Table, show
from benchmarks.qnn_centred import centred
from deployq import pipeline
from deployq.progress import progress
from deployq.qgraph import read_graph
from deployq.qgraph.edges import feed
from deployq.qparams import IntArray
from deployq.simulator import run_graph
from deployq.tuning import Arithmetic, evolve_scales
from deployq.verifier.proportion import wilson
from deployq_calibration.evolq import EvolveSettings
from deployq_exporters.dialects.dialect import translate
from deployq_exporters.dialects.qnn import QNN
from deployq_exporters.runtimes import onnxruntime, qnn_htp
from deployq_targets import load_profile

COLUMNS = ("network", "file", "samples", "ONNX Runtime %", "HTP %", "same class",
           "codes as ONNX Runtime's %", "mean difference", "simulation differs")  # fmt: skip
NETWORKS = "cifar10_tinymobilenet,imagenet_mobilenet_v2_100"
OTHER, TARGET, CENTRED, SEARCHED = "ort-cpu", "qnn-htp", "centred", "searched"
FILES = (OTHER, TARGET, CENTRED, SEARCHED)
SEARCH = EvolveSettings(passes=1, children=2, batch=50, codes="frozen", free_passes=0)
SEEN = 100
"""Choosing samples that a search sees; a fifth of them is held back."""
SAMPLES, BATCH = 128, 8
ORIGIN = {OTHER: OTHER, TARGET: TARGET, CENTRED: TARGET}


def main() -> int:
    """Print a row for each file and a line of JSON."""
    flags = parser(__doc__)
    flags.add_argument("--samples", type=int, default=SAMPLES, help="of each network")
    flags.add_argument("--files", default=",".join(FILES), help="with commas")
    flags.add_argument("--light", type=int, help="calibrate on N samples, without corrections")
    arguments = flags.parse_args()
    specs, names = chosen(arguments.models or NETWORKS), arguments.files.split(",")
    with work_folder(arguments.work) as work, progress(len(specs) * len(names)) as advance:
        found = []
        for spec in specs:
            for name in names:
                advance(f"{spec.name}, {name}")
                found.append(compared(spec, name, work, arguments.samples, arguments.light))
    misses = [
        f"{one['network']}, {one['file']}: {one['simulation_differs']} codes are not simulated"
        for one in found
        if one["simulation_differs"]
    ]
    table = Table("HTP beside ONNX Runtime", COLUMNS, [_row(one) for one in found], found, misses)
    return show(table, "qnn_recovery", arguments.json_out, samples=arguments.samples)


def compared(
    spec: ModelSpec, name: str, work: Path, samples: int, light: int | None = None
) -> Facts:
    """One file on both sides, over the first reporting samples."""
    contract = load_profile(TARGET).contract()
    if name == SEARCHED:
        folder = searched(spec, work)
    elif light is None:
        folder = bundle(spec, ORIGIN[name], work)
    else:
        target = ORIGIN[name]
        folder = plain_bundle(spec, target, work / spec.name / f"{target}-{light}", light)
    model = translate(onnx.load(folder / "model.onnx"), QNN)
    if name == CENTRED:
        model = centred(model, contract)
    data, graph = spec.reporting().take(samples), read_graph(model)
    inputs = feed(graph, data.inputs)
    (output,) = graph.outputs
    other = onnxruntime.Session(model).run(inputs)[0][output].astype(np.int64)
    htp = qnn_htp.Session(model).run(inputs)[0][output].astype(np.int64)
    apart, labels = htp - other, np.asarray(data.labels)
    right = {side: int((codes.argmax(1) == labels).sum())
             for side, codes in (("onnxruntime", other), ("htp", htp))}  # fmt: skip
    simulated = _simulated(model, inputs, output)
    return {
        "network": spec.name, "file": name, "samples": len(labels), "right": right,
        "intervals": {side: wilson(hits, len(labels)) for side, hits in right.items()},
        "same_class": int((htp.argmax(1) == other.argmax(1)).sum()),
        "codes": int(apart.size), "equal": int((apart == 0).sum()),
        "mean_difference": float(apart.mean()), "largest_difference": int(np.abs(apart).max()),
        "simulation_differs": int((simulated != htp).sum()),
    }  # fmt: skip


def searched(spec: ModelSpec, work: Path) -> Path:
    """The bundle for HTP with scales that a search chose, under the target's own arithmetic."""
    path, origin = work / spec.name / SEARCHED, bundle(spec, TARGET, work)
    if not path.exists():
        prepared, samples = pipeline.load_prepared(origin), spec.choosing().take(SEEN)
        teacher = spec.load()
        evolve_scales(prepared, samples, SEARCH, teacher=teacher, arithmetic=Arithmetic.TARGET)
        pipeline.export(prepared, path, samples)
    return path


def _simulated(model: onnx.ModelProto, inputs: Mapping[str, IntArray], output: str) -> IntArray:
    graph, contract = read_graph(model), load_profile(TARGET).contract()
    count, parts = len(next(iter(inputs.values()))), []
    with torch.inference_mode():
        for start in range(0, count, BATCH):
            fed = {name: codes[start : start + BATCH] for name, codes in inputs.items()}
            parts.append(run_graph(graph, contract, fed).codes[output].numpy().astype(np.int64))
    return np.concatenate(parts)


def _row(one: Facts) -> tuple[str, ...]:
    shares = [
        "{:.1f} ({:.1f}..{:.1f})".format(
            100 * one["right"][side] / one["samples"],
            *(100 * end for end in one["intervals"][side]),
        )
        for side in ("onnxruntime", "htp")
    ]
    return (
        one["network"], one["file"], str(one["samples"]), *shares, str(one["same_class"]),
        f"{100 * one['equal'] / one['codes']:.1f}", f"{one['mean_difference']:+.2f}",
        str(one["simulation_differs"]),
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
