"""Every trained model as a file: its integers, its codes and its accuracy are the trained ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx

from benchmarks.part import Facts, Table
from benchmarks.trained.budget import Budget
from benchmarks.trained.chosen import CHOSEN
from benchmarks.trained.images import Images
from benchmarks.trained.kept import Key, kept_models, kept_or
from benchmarks.trained.loops import train
from benchmarks.trained.networks import GRIDS, network
from deployq import pipeline
from deployq.graph.integers import linear_calls
from deployq.graph.preparation import PreparedModel
from deployq.progress import progress
from deployq.verifier.report import Judged

IMAGES = 512
"""Of the reporting ones."""
FURTHER = {"W4A8-int4": "W4A4", "W2A8-int2": "W2A2"}
"""Widths on further targets, trained here by SAQ with the settings of the other widths, on the
calibrating images.
"""
EVALUATORS = ("fake-quant", "reference", "runtime")
COLUMNS = (
    "model", "target", "weights", "others in the file", "codes", "others", "top-1 % as trained",
    "in integers", "by the runtime",
)  # fmt: skip

Codes = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Counted:
    """How many integers were compared, and how many differ."""

    compared: int
    different: int


def deployed(work: Path, budget: Budget) -> Table:
    """A row for each model in ``work``, exported for its target and verified."""
    for widths, like in FURTHER.items():
        settings, images = CHOSEN[like]["saq"], Images.of(GRIDS[widths].spec.calibration())
        net, count = network(widths), budget.evaluations
        make = partial(train, net, images, settings, evaluations=count, seed=0)
        kept_or(work, Key(widths, "saq", 0), make)
    models, facts, misses = list(kept_models(work)), list[Facts](), list[str]()
    with progress(len(models)) as advance:
        for key, folder in models:
            found, missed = _deployed(key, pipeline.load_prepared(folder), work / f"{key}.bundle")
            facts.append(found)
            misses += missed
            advance(f"{key}: {found['other_weights']} weights, {found['other_codes']} codes differ")
    return Table("deployed", COLUMNS, [_row(f) for f in facts], facts, misses)


def _deployed(key: Key, prepared: PreparedModel, folder: Path) -> tuple[Facts, list[str]]:
    spec = GRIDS[key.widths].spec
    bundle = pipeline.export(prepared, folder, spec.calibration())
    weights = _weights(prepared, bundle.path / "model.onnx")
    report = pipeline.verify(bundle.path, spec.reporting().take(IMAGES), latency_runs=1)
    exact = [p for p in report.parities if p.judged is Judged.EXACT]
    facts = {
        "model": str(key), "target": prepared.plan.target, "weights": weights.compared,
        "other_weights": weights.different, "codes": sum(p.compared for p in exact),
        "other_codes": sum(p.different for p in exact), "top1": dict(report.accuracy),
    }  # fmt: skip
    misses = [f"{key}: {miss}" for miss in report.misses()]
    if weights.different:
        misses.append(f"{key}: {weights.different} of {weights.compared} weights are others")
    return facts, misses


def _weights(prepared: PreparedModel, model: Path) -> Counted:
    """The integers of the file against those that the trained layers multiply by."""
    stored = {
        tensor.name: onnx.numpy_helper.to_array(tensor).astype(np.int64)
        for tensor in onnx.load(model).graph.initializer
    }
    pairs = [(codes, stored[f"{name}.weight.codes"]) for name, codes in _trained(prepared)]
    return Counted(
        sum(codes.size for codes, _ in pairs), sum(int((a != b).sum()) for a, b in pairs)
    )


def _trained(prepared: PreparedModel) -> Iterator[tuple[str, Codes]]:
    """Fake-quantized weights in steps of their scale, by layer."""
    for call in linear_calls(prepared):
        quantizer, seen = call.unit.weight_quantizer, call.seen_weight()
        scale = quantizer.expand(quantizer.effective_scale(), seen)
        yield call.name, (quantizer(seen) / scale).round().detach().numpy().astype(np.int64)


def _row(facts: Facts) -> tuple[str, ...]:
    """Accuracy of the trained model, of the contract's integers, and of the runtime's file."""
    names = ("weights", "other_weights", "codes", "other_codes")
    counts = (str(facts[name]) for name in names)
    top1 = (f"{100 * facts['top1'][name]:.2f}" for name in EVALUATORS)
    return (facts["model"], facts["target"], *counts, *top1)
