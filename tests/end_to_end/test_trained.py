"""Trained by SAQ, exported, read back: the integers of the file are those that were trained."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

import deployq
from deployq import pipeline
from deployq.data import Dataset
from deployq.graph.integers import linear_calls
from deployq.graph.preparation import PreparedModel
from deployq.graph.recipe import LayerRecipe, Recipe
from deployq.train import learn_scales
from deployq.verifier.report import Judged, Limits
from tests.train.loops import closure

LOW_EVIDENCE = Limits(min_codes=1000, min_distinct=4)
TWO_BITS = Recipe(
    weight_bits=2,
    activation_bits=2,
    first_bits=8,
    last_bits=8,
    layers={"head": LayerRecipe(activation_bits=8)},  # two bits of scores tie
)


def trained(prepared: PreparedModel, images: Dataset) -> PreparedModel:
    """Four sharpness-aware steps, scales learning."""
    scales = learn_scales(prepared)
    assert images.labels is not None
    x, y = torch.from_numpy(images.inputs["x"][:256]), torch.from_numpy(images.labels[:256])
    module = prepared.module.train()
    rest = [p for n, p in module.named_parameters() if not n.endswith("scale")]
    groups = [{"params": rest}, {"params": scales, "lr": 1e-4}]
    optimizer = torch.optim.SGD(groups, 1e-2)
    saq, before = deployq.SAQ(prepared, optimizer, radius=0.3), weight_codes(prepared)
    for _ in range(4):
        saq.step(closure(module, x, y))
    module.eval()
    after = weight_codes(prepared)
    assert any((after[name] != before[name]).any() for name in after)
    return prepared


def weight_codes(prepared: PreparedModel) -> dict[str, np.ndarray]:
    """What the forward pass of each layer multiplies by, in steps of its scale."""
    found = {}
    for call in linear_calls(prepared):
        quantizer = call.unit.weight_quantizer
        latent = call.seen_weight()
        scale = quantizer.expand(quantizer.effective_scale(), latent)
        found[call.name] = torch.round(quantizer(latent) / scale).detach().numpy().astype(int)
    return found


@pytest.mark.parametrize(
    ("target", "recipe"), [("int4-npu", None), ("lowbit-vlsi", TWO_BITS), ("int2-vlsi", None)]
)
def test_the_files_integers_are_the_trained_ones(
    make_prepared: Callable[..., PreparedModel],
    images: Dataset,
    unseen: Dataset,
    tmp_path: Path,
    target: str,
    recipe: Recipe | None,
) -> None:
    prepared = trained(make_prepared(target, recipe, corrections=()), images)
    bundle = pipeline.export(prepared, tmp_path / "b", images)
    stored = {
        tensor.name: onnx.numpy_helper.to_array(tensor).astype(int)
        for tensor in onnx.load(bundle.path / "model.onnx").graph.initializer
    }
    for name, codes in weight_codes(prepared).items():
        np.testing.assert_array_equal(stored[f"{name}.weight.codes"], codes)
    assert not [f for f in pipeline.check(bundle.path, target) if f.severity == "error"]
    report = pipeline.verify(bundle.path, unseen, limits=LOW_EVIDENCE, latency_runs=1)
    assert report.misses() == []
    exact = [p.different for p in report.parities if p.judged is Judged.EXACT]
    assert exact and set(exact) == {0}
