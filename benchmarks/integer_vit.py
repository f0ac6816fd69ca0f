"""A vision transformer on a target without a float unit: fake-quantized, and simulated end to end.

    python -m benchmarks.integer_vit [--models imagenet_vit_tiny16] [--variants wide_sums,all_8]
                                     [--samples 300] [--calibration 64] [--work DIR]

Weights and activations have 8 bits. ``wide_sums``: the residual and what is added to it have 16
(``lowbit-wide-sums.toml``); ``all_8``: as ``lowbit-vlsi`` states it. The simulator reads the
canonical file and computes softmax, LayerNorm and GELU in integers; any operator in float counts as
a miss. Scales are those of calibration alone, nothing is trained or corrected. Interval: 95 %,
paired bootstrap. Exit code 1 where the simulation is more than --goal points below fake-quant.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import torch

from benchmarks.command import chosen_parts, parser, work_folder
from benchmarks.models.registry import chosen
from benchmarks.models.spec import INPUT, ModelSpec
from benchmarks.part import Facts, Table, show
from benchmarks.statistics import Interval, paired_difference
from benchmarks.wide_sums import WIDE_SUMS
from deployq import pipeline
from deployq.graph.preparation import PreparedModel
from deployq.graph.recipe import LayerRecipe, Recipe
from deployq.progress import progress
from deployq.qgraph import read_graph
from deployq.simulator import run_graph
from deployq_calibration.calibration_settings import CalibrationSettings
from deployq_exporters.lowering import lower, to_proto

Scores = npt.NDArray[np.float32]

NETWORK, SAMPLES, CALIBRATION, GOAL, BATCH = "imagenet_vit_tiny16", 300, 64, 1.0, 5
COLUMNS = ("network", "variant", "samples", "float %", "fake-quant %", "simulated %",
           "simulated - fake-quant", "same class %", "in float")  # fmt: skip


@dataclass(frozen=True)
class Variant:
    """A target, and widths beside its own choice by patterns of names."""

    target: str | Path
    layers: Mapping[str, LayerRecipe] = field(default_factory=dict)

    @property
    def recipe(self) -> Recipe:
        return Recipe(weight_bits=8, activation_bits=8, layers=self.layers)


VARIANTS = {
    "wide_sums": Variant(
        Path(__file__).with_name("lowbit-wide-sums.toml"),
        WIDE_SUMS,
    ),
    "all_8": Variant("lowbit-vlsi"),
}


def main() -> int:
    """Print a row for each network and variant, and a line of JSON."""
    flags = parser(__doc__)
    flags.add_argument("--variants", default=next(iter(VARIANTS)))
    flags.add_argument("--samples", type=int, default=SAMPLES)
    flags.add_argument("--calibration", type=int, default=CALIBRATION)
    flags.add_argument("--goal", type=float, default=GOAL)
    given = flags.parse_args()
    specs, variants = chosen(given.models or NETWORK), chosen_parts(given.variants, VARIANTS)
    pairs = [(spec, variant) for spec in specs for variant in variants]
    facts = list[Facts]()
    with work_folder(given.work) as work, progress(len(pairs)) as advance:
        for spec, variant in pairs:
            advance(f"{spec.name}, {variant}")
            facts.append(measure(spec, variant, given.samples, given.calibration, work))
    misses = [miss for found in facts for miss in _misses(found, given.goal)]
    table = Table("transformers in integers", COLUMNS, [_cells(f) for f in facts], facts, misses)
    settings = {"calibration": given.calibration, "goal": given.goal}
    return show(table, "integer_vit", given.json_out, **settings)


def measure(spec: ModelSpec, variant: str, samples: int, calibration: int, work: Path) -> Facts:
    """The three figures on the first reporting samples."""
    prepared = _prepared(spec, VARIANTS[variant], calibration, work / f"{spec.name}.{variant}")
    data = spec.reporting()
    data = data.take(min(samples, len(data)))
    x = data.inputs[INPUT]
    floats = _scores(x, _module(spec.load()))
    trained = _scores(x, _module(prepared.module))
    simulated, in_float = _simulated(prepared, x, work / f"{spec.name}.{variant}.onnx")
    metric = spec.metric
    rows = [metric.rows([scores], [floats], data) for scores in (floats, trained, simulated)]
    return {
        "name": spec.name, "variant": variant, "samples": len(data),
        **dict(zip(("float", "fake_quant", "simulated"), map(metric.statistic, rows), strict=True)),
        "difference": asdict(paired_difference(metric.statistic, rows[2], rows[1])),
        "same_class": 100 * float((simulated.argmax(1) == trained.argmax(1)).mean()),
        "in_float": list(in_float),
    }  # fmt: skip


def _prepared(spec: ModelSpec, variant: Variant, samples: int, folder: Path) -> PreparedModel:
    if folder.is_dir():
        return pipeline.load_prepared(folder)
    made = pipeline.prepare(spec.load(), [spec.example()], variant.target, variant.recipe)
    settings = CalibrationSettings(corrections=())
    pipeline.calibrate(made, spec.calibration().take(samples), settings)
    pipeline.save_prepared(made, folder)
    return made


def _module(module: torch.nn.Module) -> Callable[[Scores], Scores]:
    def run(batch: Scores) -> Scores:
        with torch.no_grad():
            found: Scores = module(torch.from_numpy(batch)).numpy()
        return found

    return run


def _scores(x: Scores, run: Callable[[Scores], Scores]) -> Scores:
    parts = [run(np.array(x[start : start + BATCH])) for start in range(0, len(x), BATCH)]
    return np.concatenate(parts)


def _simulated(prepared: PreparedModel, x: Scores, path: Path) -> tuple[Scores, tuple[str, ...]]:
    """Scores of the canonical file under the target's arithmetic; what ran in float."""
    if not path.is_file():
        onnx.save(to_proto(lower(prepared, prepared.profile)), path)
    profile = prepared.profile
    graph = read_graph(onnx.load(path), joins_sums=profile.graph.joins_sums)
    contract = profile.contract()
    in_float = dict[str, None]()

    def run(batch: Scores) -> Scores:
        found = run_graph(graph, contract, {graph.inputs[0]: batch}, keep=())
        in_float.update(dict.fromkeys(found.floats))
        return found.outputs[graph.outputs[0]]

    return _scores(x, run), tuple(in_float)


def _misses(found: Facts, goal: float) -> Iterator[str]:
    name = f"{found['name']}, {found['variant']}"
    if found["difference"]["middle"] < -goal:
        yield f"{name}: {found['difference']['middle']:.2f} points, more than {goal} below"
    if found["in_float"]:
        yield f"{name}: {', '.join(found['in_float'])} ran in float"


def _cells(found: Facts) -> tuple[str, ...]:
    figures = (f"{found[key]:.2f}" for key in ("float", "fake_quant", "simulated"))
    return (
        found["name"], found["variant"], str(found["samples"]), *figures,
        Interval(**found["difference"]).text(), f"{found['same_class']:.2f}",
        str(len(found["in_float"])),
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
