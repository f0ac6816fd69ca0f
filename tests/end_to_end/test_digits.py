"""The main job on the digits network: export, simulate, run, verify; 0 codes different."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch.nn import functional

from deployq import pipeline
from deployq.data import Dataset
from deployq.graph.preparation import PreparedModel
from deployq.graph.recipe import LayerRecipe, Recipe
from deployq.train import learn_scales
from deployq.verifier.report import Limits

LOW_EVIDENCE = Limits(min_images=64, min_codes=0)
"""A few hundred digits have about 3 million codes: enough to find a fault, thin as evidence."""


@pytest.mark.parametrize("target", ["int4-npu", "ort-cpu", "int8-npu", "lowbit-vlsi"])
def test_every_builtin_target_verifies(
    bundles: Callable[[str], Path], unseen: Dataset, target: str
) -> None:
    report = pipeline.verify(bundles(target), unseen, limits=LOW_EVIDENCE, latency_runs=3)
    assert report.misses() == []
    exact = [parity for parity in report.parities if parity.exact]
    assert len(exact) == 3 and all(p.different == 0 and p.compared > 10**6 for p in exact)
    assert report.latency is not None and report.latency.integer_share == 1.0


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(weight_bits=2, activation_bits=4),
        Recipe(weight_bits=3, activation_bits=3),
        Recipe(weight_bits=4, layers={"block1.*": LayerRecipe(weight_bits=2, activation_bits=5)}),
    ],
    ids=["w2a4", "w3a3", "mixed"],
)
def test_low_and_odd_widths_run_in_integer_kernels(
    make_prepared: Callable[..., PreparedModel], unseen: Dataset, tmp_path: Path, recipe: Recipe
) -> None:
    pipeline.export(make_prepared("lowbit-vlsi", recipe), tmp_path / "b", unseen)
    report = pipeline.verify(tmp_path / "b", unseen, limits=LOW_EVIDENCE, latency_runs=3)
    assert report.misses() == []
    assert report.latency is not None and report.latency.float_layers == ()


def test_trained_integers_are_the_files_integers(
    make_prepared: Callable[..., PreparedModel], images: Dataset, tmp_path: Path
) -> None:
    """Law 2: learned-step training, then export: the codes in the file are the trained ones."""
    prepared = make_prepared("int4-npu")
    learn_scales(prepared)
    x, y = torch.from_numpy(images.inputs["x"][:512]), torch.from_numpy(images.labels[:512])
    module = prepared.module.train()
    optimizer = torch.optim.SGD(module.parameters(), 1e-2)
    losses = []
    for _ in range(8):
        optimizer.zero_grad()
        losses.append(functional.cross_entropy(module(x), y))
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < losses[0]
    module.eval()
    bundle = pipeline.export(prepared, tmp_path / "b", images)
    stored = {t.name: onnx.numpy_helper.to_array(t) for t in _initializers(bundle.path)}
    for name, unit in prepared.units().items():
        trained = unit.weight_quantizer.codes(module.get_parameter(f"{name}.weight"))
        np.testing.assert_array_equal(stored[f"{name}.weight.codes"].astype(int), trained)
    report = pipeline.verify(bundle.path, images.take(64), limits=LOW_EVIDENCE, latency_runs=1)
    assert [p.different for p in report.parities if p.exact] == [0, 0, 0]


def _initializers(path: Path) -> list[onnx.TensorProto]:
    return list(onnx.load(path / "model.onnx").graph.initializer)


def test_canonical_file_states_four_bit_codes_and_the_dialect_widens_them(
    bundles: Callable[[str], Path],
) -> None:
    path = bundles("int4-npu")
    canonical = {t.name: t for t in _initializers(path)}
    widened = {t.name: t for t in onnx.load(path / "model.onnxruntime.onnx").graph.initializer}
    name = "stem.weight.codes"
    assert canonical[name].data_type == onnx.TensorProto.INT4
    assert widened[name].data_type == onnx.TensorProto.INT8
    codes = [onnx.numpy_helper.to_array(t[name]).astype(int) for t in (canonical, widened)]
    np.testing.assert_array_equal(*codes)


def test_two_exports_in_two_folders_are_byte_identical(
    make_prepared: Callable[..., PreparedModel], calibration: Dataset, tmp_path: Path
) -> None:
    for name in ("a", "deep/er/b"):
        pipeline.export(make_prepared("int4-npu"), tmp_path / name, calibration)
    first, second = tmp_path / "a", tmp_path / "deep/er/b"
    names = sorted(p.name for p in first.iterdir())
    assert names == sorted(p.name for p in second.iterdir()) and len(names) == 6
    for name in names:
        content = (first / name).read_bytes()
        assert content == (second / name).read_bytes()
        assert str(tmp_path).encode() not in content


def test_golden_vectors_replay(bundles: Callable[[str], Path]) -> None:
    path = bundles("int4-npu")
    golden = np.load(path / "golden.npz")
    simulation = pipeline.simulate(path, {"x": golden["input/x"]})
    for name, codes in simulation.codes.items():
        np.testing.assert_array_equal(codes.numpy(), golden[f"codes/{name}"])
    assert set(golden) == {
        "input/x",
        *(f"codes/{n}" for n in simulation.codes),
        *(f"output/{n}" for n in simulation.outputs),
    }


def test_a_changed_code_is_found_and_named(
    bundles: Callable[[str], Path], unseen: Dataset, tmp_path: Path
) -> None:
    """The comparison can fail: one weight code changed in the file is one layer reported."""
    import shutil

    from deployq.bundle import write_manifest

    broken = tmp_path / "broken"
    shutil.copytree(bundles("int4-npu"), broken)
    model = onnx.load(broken / "model.onnx")
    tensor = next(t for t in model.graph.initializer if t.name == "block1.pointwise.weight.codes")
    codes = onnx.numpy_helper.to_array(tensor).copy()
    codes.flat[0] = -7 if int(codes.flat[0]) > 0 else 7
    tensor.CopyFrom(onnx.numpy_helper.from_array(codes, tensor.name))
    onnx.save(model, broken / "model.onnx")
    (broken / "manifest.json").unlink()
    write_manifest(broken, {})
    report = pipeline.verify(broken, unseen.take(64), limits=LOW_EVIDENCE, latency_runs=1)
    assert report.exit_code == 1
    assert "block1.pointwise" in report.misses()[0]
