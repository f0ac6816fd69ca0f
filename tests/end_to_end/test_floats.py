"""Operators in float between codes: from torch to a verified bundle."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from deployq import pipeline
from deployq.data import Dataset
from deployq.graph.recipe import LayerRecipe, Recipe
from deployq.verifier.report import Judged, Limits, Report
from deployq_calibration.calibration_settings import CalibrationSettings


class Mixed(nn.Module):
    """LayerNorm between convolutions, a convolution with BatchNorm that may stay float, Softmax."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, padding=1)
        self.norm = nn.LayerNorm(8)
        self.body = nn.Conv2d(8, 8, 3, padding=1)
        self.body_norm = nn.BatchNorm2d(8)
        self.head = nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        y = self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        x = x + F.relu(self.body_norm(self.body(y)))
        return self.head(x.mean((2, 3))).softmax(-1)


KEPT = Recipe(layers={"body": LayerRecipe(keep_float=True)})


def verified(
    target: str, recipe: Recipe | None, path: Path, model: nn.Module | None = None
) -> Report:
    torch.manual_seed(0)
    x = np.random.default_rng(0).normal(size=(96, 1, 8, 8)).astype(np.float32)
    data = Dataset({"x": x}, np.arange(96) % 10)
    prepared = pipeline.prepare(
        (model or Mixed()).eval(), [torch.zeros(2, 1, 8, 8)], target, recipe
    )
    pipeline.calibrate(prepared, data, CalibrationSettings(iterations=5))
    pipeline.export(prepared, path, data)
    return pipeline.verify(path, data, limits=Limits(min_codes=1, min_distinct=1), latency_runs=1)


@pytest.mark.parametrize("target", ["ort-cpu", "int8-npu", "int4-npu"])
@pytest.mark.parametrize("recipe", [None, KEPT])
def test_every_limit_is_met(target: str, recipe: Recipe | None, tmp_path: Path) -> None:
    report = verified(target, recipe, tmp_path / "b")
    assert report.misses() == []
    floats = {line.partition(":")[0] for line in report.floats}
    on_codes = target == "ort-cpu"  # the one with a form of Softmax
    assert floats == {"norm", *([] if on_codes else ["softmax"]), *(["body"] if recipe else [])}
    exact, near = report.parities[:2]
    assert (exact.judged, exact.different, near.judged) == (Judged.EXACT, 0, Judged.NEAR)
    # what only a layer in float reads needs no codes
    assert {row.tensor for row in near.layers} == {"body" if recipe else "norm"}
    tensors = {row.tensor for row in exact.layers}
    assert ("softmax" if on_codes else "output softmax") in tensors
    share = report.latency.integer_share
    assert share == 1.0 if recipe is None else share < 1.0


class Kept(nn.Module):
    """A layer in float between quantized ones, with no other operator beside it."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.stem, self.body, self.head = nn.Conv2d(1, 8, 3), body, nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(F.relu(self.stem(x))).mean((2, 3)))


@pytest.mark.parametrize(
    "body",
    [nn.Conv2d(8, 8, 3), nn.ConvTranspose2d(8, 8, 2, stride=2)],
    ids=lambda body: type(body).__name__,
)
@pytest.mark.parametrize("target", ["ort-cpu", "int4-npu"])
def test_the_runtime_leaves_a_kept_layer_in_float(
    body: nn.Module, target: str, tmp_path: Path
) -> None:
    report = verified(target, KEPT, tmp_path / "b", Kept(body))
    assert report.misses() == [] and [f.partition(":")[0] for f in report.floats] == ["body"]


def test_interpolation_has_exact_ties(tmp_path: Path) -> None:
    report = verified(
        "ort-cpu", None, tmp_path / "b", Kept(nn.UpsamplingBilinear2d(scale_factor=2))
    )
    assert report.misses() == []


def test_the_file_has_plain_operators_where_it_is_float(tmp_path: Path) -> None:
    verified("ort-cpu", KEPT, tmp_path / "b")
    model = onnx.load(tmp_path / "b" / "model.onnx")
    kinds = [node.op_type for node in model.graph.node]
    assert {"LayerNormalization", "Softmax"} <= set(kinds)
    weights = {t.name: t.data_type for t in model.graph.initializer}
    assert weights["stem.weight.codes"] == onnx.TensorProto.INT8
    assert weights["body.weight"] == onnx.TensorProto.FLOAT
