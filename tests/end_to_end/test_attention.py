"""Transformers through the whole job: attention in integers, constants on grids, masks in float."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.models.registry import TRANSFORMERS
from benchmarks.zoo import DATA
from deployq import pipeline
from deployq.data import Dataset
from deployq.graph.recipe import Recipe
from deployq.verifier.evidence import Evidence
from deployq.verifier.latency import integer_share
from deployq.verifier.report import Judged, Limits
from deployq_calibration.calibration_settings import CalibrationSettings
from deployq_targets.checks import Severity, check_model
from tests.graph.networks import Masked, Net

TOKENS, WIDTH = 6, 8
FEW = Limits(1, 1, 1)
SCALES_ALONE = CalibrationSettings(corrections=())


def tokens() -> Dataset:
    x = np.random.default_rng(1).normal(size=(96, TOKENS, WIDTH)).astype(np.float32)
    return Dataset({"x": x})


def network(mask: Tensor | None = None) -> nn.Module:
    """Class token, positions, one block of attention and MLP, scores of the class token."""
    torch.manual_seed(0)

    def body(m: Any, x: Tensor) -> Tensor:
        x = torch.cat([m.token.expand(x.shape[0], -1, -1), m.embed(x)], 1) + m.positions
        q, k, v = (f(m.norm(x)).unflatten(-1, (2, 4)).transpose(1, 2) for f in (m.q, m.k, m.v))
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        x = x + m.out(mixed.transpose(1, 2).flatten(2))
        y: Tensor = m.head((x + m.two(F.gelu(m.one(x))))[:, 0])
        return y

    layers = {name: nn.Linear(WIDTH, WIDTH) for name in ("embed", "q", "k", "v", "out")}
    return Net(
        body, **layers, norm=nn.LayerNorm(WIDTH), one=nn.Linear(WIDTH, 12),
        two=nn.Linear(12, WIDTH), head=nn.Linear(WIDTH, 5),
        token=nn.Parameter(torch.randn(1, 1, WIDTH)),
        positions=nn.Parameter(torch.randn(1, TOKENS + 1, WIDTH)),
    ).eval()  # fmt: skip


@pytest.mark.parametrize("target", ["ort-cpu", "int8-npu"])
def test_a_transformer_verifies(target: str, tmp_path: Path) -> None:
    prepared = pipeline.prepare(network(), [torch.zeros(2, TOKENS, WIDTH)], target)
    floats = "".join(prepared.plan.floats)
    assert "matmul" not in floats and ("add: float" in floats) == (target == "ort-cpu")
    pipeline.calibrate(prepared, tokens(), SCALES_ALONE)
    bundle = pipeline.export(prepared, tmp_path / "bundle", tokens())
    report = pipeline.verify(bundle.path, tokens(), limits=FEW, latency_runs=1)
    assert report.misses() == []
    assert all(p.different == 0 for p in report.parities if p.judged is Judged.EXACT)


def test_constants_are_stored_as_the_codes_that_training_sees(tmp_path: Path) -> None:
    prepared = pipeline.prepare(network(), [torch.zeros(2, TOKENS, WIDTH)], "int8-npu")
    pipeline.calibrate(prepared, tokens(), SCALES_ALONE)
    (grid,) = [grid for grid in prepared.plan.tensors if grid.constants]
    assert grid.computed == () and grid.name not in prepared.grids()
    quantizer = prepared.quantizers()[grid.name]
    value = dict(prepared.module.named_parameters())[grid.name]
    bundle = pipeline.export(prepared, tmp_path / "bundle", tokens())
    model = onnx.load(bundle.path / "model.onnx")
    stored = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    codes = quantizer.codes(value.detach()).numpy()
    assert np.array_equal(stored[f"{grid.name}.codes"].astype(int), codes.astype(int))
    again = pipeline.load_prepared(bundle.path)
    assert again.plan == prepared.plan and again.grids().keys() == prepared.grids().keys()


def test_masks_are_added_in_float(tmp_path: Path) -> None:
    mask = torch.ones(TOKENS + 1, TOKENS + 1, dtype=torch.bool).tril()
    prepared = pipeline.prepare(network(mask), [torch.zeros(2, TOKENS, WIDTH)], "ort-cpu")
    assert any("masked: float" in line for line in prepared.plan.floats)
    pipeline.calibrate(prepared, tokens(), SCALES_ALONE)
    bundle = pipeline.export(prepared, tmp_path / "bundle", tokens())
    assert pipeline.verify(bundle.path, tokens(), limits=FEW, latency_runs=1).misses() == []


@pytest.mark.parametrize("truths", [True, False])
def test_a_query_without_keys_is_zero_in_the_file_as_well(truths: bool, tmp_path: Path) -> None:
    mask = torch.ones(TOKENS + 1, TOKENS + 1, dtype=torch.bool).tril(-1)
    given = mask if truths else torch.zeros(mask.shape).masked_fill(~mask, float("-inf"))
    prepared = pipeline.prepare(network(given), [torch.zeros(2, TOKENS, WIDTH)], "ort-cpu")
    pipeline.calibrate(prepared, tokens(), SCALES_ALONE)
    bundle = pipeline.export(prepared, tmp_path / "bundle", tokens())
    assert pipeline.verify(bundle.path, tokens(), limits=FEW, latency_runs=1).misses() == []


def attended(shares: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Any, Tensor, Tensor], Tensor]:
    """A network that mixes by shares of its scores and a mask (N, 1, keys)."""

    def body(m: Any, x: Tensor, mask: Tensor) -> Tensor:
        y: Tensor = m.b(shares(m.a(x) @ x.transpose(1, 2), mask[:, None, :]) @ x)
        return y

    return body


def attention(m: Any, x: Tensor, mask: Tensor) -> Tensor:
    y: Tensor = m.b(F.scaled_dot_product_attention(m.a(x), x, x, mask[:, None, :] != 0))
    return y


@pytest.mark.parametrize("numbers", [np.int64, np.bool_])
@pytest.mark.parametrize(
    "body",
    [
        attended(lambda s, m: torch.softmax(s + (1.0 - m.float()) * -1e4, -1)),
        attended(lambda s, m: torch.softmax(s + (1.0 - m.type_as(s)) * torch.finfo().min, -1)),
        attended(lambda s, m: torch.softmax(s.masked_fill(m == 0, float("-inf")), -1)),
        attended(lambda s, m: torch.softmax(torch.where(m.bool(), s, torch.tensor(-1e9)), 2)),
        attention,
    ],
    ids=["numbers", "least float", "filled", "chosen", "attention"],
)
def test_a_mask_among_the_inputs(body: Any, numbers: type, tmp_path: Path) -> None:
    mask = np.ones((96, TOKENS), numbers)
    mask[::3, 4:] = 0
    data = Dataset({"x": tokens().inputs["x"], "mask": mask})
    net = Masked(body, a=nn.Linear(WIDTH, WIDTH), b=nn.Linear(WIDTH, 5)).eval()
    examples = [torch.zeros(2, TOKENS, WIDTH), torch.from_numpy(mask[:2])]
    prepared = pipeline.prepare(net, examples, "ort-cpu")
    assert any(line.endswith("float, ort-cpu runs Cast as float") for line in prepared.plan.floats)
    pipeline.calibrate(prepared, data, SCALES_ALONE)
    (scores,) = {n for n in prepared.grids() if n in ("add", "attention.masked", "masked")}
    assert prepared.grids()[scores].scale < 0.5  # the scores', not the mask's
    inputs = [torch.from_numpy(array) for array in data.inputs.values()]
    wanted = net(*inputs)
    error = (prepared.module(*inputs) - wanted).abs().mean()
    assert error < 0.1 * wanted.std()  # of 8 bits; shares of hidden keys would be half of all
    bundle = pipeline.export(prepared, tmp_path / "bundle", data)
    assert pipeline.verify(bundle.path, data, limits=FEW, latency_runs=1).misses() == []


@pytest.mark.parametrize("target", ["openvino-cpu", "tensorrt", "ort-cpu"])
def test_shortcuts_on_codes_beside_layers_in_reals(target: str, tmp_path: Path) -> None:
    def body(m: Any, x: Tensor) -> Tensor:
        x = m.norm(x)
        y: Tensor = m.b(m.after(x + m.a(x)))
        return y

    net = Net(body, a=nn.Linear(WIDTH, WIDTH), b=nn.Linear(WIDTH, 5), norm=nn.LayerNorm(WIDTH),
              after=nn.LayerNorm(WIDTH)).eval()  # fmt: skip
    prepared = pipeline.prepare(net, [torch.zeros(2, TOKENS, WIDTH)], target)
    pipeline.calibrate(prepared, tokens(), SCALES_ALONE)
    bundle = pipeline.export(prepared, tmp_path / "bundle", tokens())
    found = pipeline.check(bundle.path, target)
    assert [f for f in found if f.severity is Severity.ERROR] == []
    assert pipeline.verify(bundle.path, tokens(), limits=FEW, latency_runs=1).misses() == []


def test_products_of_activations_count_in_the_integer_share(tmp_path: Path) -> None:
    def body(m: Any, x: Tensor) -> Tensor:
        y = m.a(x)
        scores: Tensor = y @ y.transpose(1, 2)
        return scores

    net = Net(body, a=nn.Linear(WIDTH, 4)).eval()
    prepared = pipeline.prepare(net, [torch.zeros(2, TOKENS, WIDTH)], "ort-cpu")
    pipeline.calibrate(prepared, tokens(), SCALES_ALONE)
    evidence = Evidence(pipeline.export(prepared, tmp_path / "bundle", tokens()).path)
    layer, product = TOKENS * WIDTH * 4, TOKENS * TOKENS * 4
    assert integer_share(evidence, ()) == 1.0
    assert integer_share(evidence, ["matmul"]) == layer / (layer + product)
    assert integer_share(evidence, ["a.product"]) == product / (layer + product)


def test_rolled_windows_move_codes(tmp_path: Path) -> None:
    data = Dataset({"x": np.random.default_rng(0).normal(size=(64, 4, 6, 3)).astype("f4")})
    net = Net(lambda m, x: m.b(torch.roll(m.a(x), (1, -2), (1, 2))), a=nn.Linear(3, 4),
              b=nn.Linear(4, 2)).eval()  # fmt: skip
    prepared = pipeline.prepare(net, [torch.zeros(2, 4, 6, 3)], "ort-cpu")
    assert prepared.plan.floats == ()
    pipeline.calibrate(prepared, data, SCALES_ALONE)
    bundle = pipeline.export(prepared, tmp_path / "bundle", data)
    model = onnx.load(bundle.path / "model.onnx")
    assert [n.op_type for n in model.graph.node].count("Gather") == 2
    assert pipeline.verify(bundle.path, data, limits=FEW, latency_runs=1).misses() == []


@pytest.mark.skipif(
    not (DATA / "models/mnist_vit_prenorm.pt").is_file(), reason=f"no real data in {DATA}"
)
def test_a_trained_transformer_verifies(tmp_path: Path) -> None:
    spec = TRANSFORMERS["mnist_vit_prenorm"]
    prepared = pipeline.prepare(spec.load(), [spec.example()], "ort-cpu")
    calibration = spec.calibration().take(96)
    pipeline.calibrate(prepared, calibration, SCALES_ALONE)
    bundle = pipeline.export(prepared, tmp_path / "bundle", calibration)
    report = pipeline.verify(bundle.path, spec.choosing().take(192), latency_runs=1)
    assert report.misses() == []
    exact = [p for p in report.parities if p.judged is Judged.EXACT]
    assert all(p.different == 0 and p.compared > 10**7 for p in exact)
    assert report.latency.integer_share == 1.0


@pytest.mark.parametrize(("weight_bits", "activation_bits"), [(8, 8), (4, 4), (3, 8)])
def test_a_transformer_without_a_float_unit(
    weight_bits: int, activation_bits: int, tmp_path: Path
) -> None:
    recipe = Recipe(weight_bits=weight_bits, activation_bits=activation_bits)
    example = [torch.zeros(2, TOKENS, WIDTH)]
    prepared = pipeline.prepare(network(), example, "lowbit-vlsi", recipe)
    assert prepared.plan.floats == ()
    pipeline.calibrate(prepared, tokens(), SCALES_ALONE)
    bundle = pipeline.export(prepared, tmp_path / "bundle", tokens())
    model = onnx.load(bundle.path / "model.onnx")
    kinds = {node.op_type for node in model.graph.node}
    assert {"LayerNormalization", "Softmax", "Gelu"} <= kinds
    simulation = pipeline.simulate(bundle.path, tokens().inputs)
    assert simulation.floats == ()
    report = pipeline.verify(bundle.path, tokens(), limits=FEW, latency_runs=1)
    assert report.misses() == []
    (whole,) = (p for p in report.parities if p.name == "reference = simulator")
    assert whole.judged is Judged.EXACT and whole.different == 0
    errors = [f for f in check_model(model, prepared.profile) if f.severity is Severity.ERROR]
    assert errors == []


@pytest.mark.skipif(
    not (DATA / "models/mnist_vit_prenorm.pt").is_file(), reason=f"no real data in {DATA}"
)
def test_a_trained_transformer_keeps_its_classes_in_integers(tmp_path: Path) -> None:
    spec = TRANSFORMERS["mnist_vit_prenorm"]
    recipe = Recipe(weight_bits=8, activation_bits=8)
    prepared = pipeline.prepare(spec.load(), [spec.example()], "lowbit-vlsi", recipe)
    pipeline.calibrate(prepared, spec.calibration().take(96), SCALES_ALONE)
    bundle = pipeline.export(prepared, tmp_path / "bundle", spec.calibration().take(8))
    images = spec.choosing().take(200)
    simulation = pipeline.simulate(bundle.path, images.inputs)
    assert simulation.floats == ()
    (scores,) = simulation.outputs.values()
    with torch.no_grad():
        trained = prepared.module(torch.from_numpy(np.array(images.inputs["x"]))).numpy()
    right = [(s.argmax(1) == images.labels).mean() for s in (scores, trained)]
    assert right[0] >= right[1] - 0.01  # two images: rounding moves codes next to ties
    assert right[1] > 0.95


def test_root_mean_squares_in_integers(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = Net(lambda m, x: m.b(m.last(m.plain(F.silu(m.norm(m.a(x)))))), a=nn.Linear(WIDTH, 12),
              norm=nn.RMSNorm(12), plain=nn.RMSNorm(12, 1e-3, elementwise_affine=False),
              last=nn.LayerNorm(12, elementwise_affine=False),
              b=nn.Linear(12, 3)).eval()  # fmt: skip
    recipe = Recipe(weight_bits=8)
    prepared = pipeline.prepare(net, [torch.zeros(2, TOKENS, WIDTH)], "lowbit-vlsi", recipe)
    assert prepared.plan.floats == ()
    pipeline.calibrate(prepared, tokens(), SCALES_ALONE)
    bundle = pipeline.export(prepared, tmp_path / "bundle", tokens())
    assert pipeline.simulate(bundle.path, tokens().inputs).floats == ()
    model = onnx.load(bundle.path / "model.onnx")
    assert [n.op_type for n in model.graph.node].count("RMSNormalization") == 2
    assert pipeline.verify(bundle.path, tokens(), limits=FEW, latency_runs=1).misses() == []
