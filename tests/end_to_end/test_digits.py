"""The main job on the digits network: export, simulate, run, verify; 0 codes different."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch.nn import functional

from deployq import pipeline
from deployq.bundle import write_manifest
from deployq.bundle_contents import simulation_arrays
from deployq.data import Dataset
from deployq.graph.preparation import PreparedModel
from deployq.graph.recipe import LayerRecipe, Recipe
from deployq.train import learn_scales
from deployq.verifier.report import Judged, Limits, Report
from tests.graph.networks import counting

LOW_EVIDENCE = Limits(min_images=64, min_codes=900_000, min_distinct=1)
"""A briefly trained network on few digits: enough to find a fault, thin as evidence."""


@pytest.mark.parametrize("target", ["int4-npu", "ort-cpu", "int8-npu", "lowbit-vlsi", "int2-vlsi"])
def test_every_builtin_target_verifies(
    bundles: Callable[[str], Path], unseen: Dataset, target: str
) -> None:
    report = pipeline.verify(bundles(target), unseen, limits=LOW_EVIDENCE, latency_runs=3)
    assert report.misses() == []
    exact = [parity for parity in report.parities if parity.judged is Judged.EXACT]
    assert len(exact) == 4 and all(p.different == 0 and p.compared > 10**6 for p in exact)
    assert report.latency.integer_share == 1.0 and report.latency.float_nodes == ()


def test_codes_counted_by_thresholds_verify(
    make_prepared: Callable[..., PreparedModel], unseen: Dataset, tmp_path: Path
) -> None:
    """Thresholds follow any scale, so BatchNorms are absorbed."""
    prepared = make_prepared(counting())
    assert "absorb" in {unit.batch_norm for unit in prepared.units().values()}
    pipeline.export(prepared, tmp_path / "b", unseen.take(64))
    report = pipeline.verify(tmp_path / "b", unseen.take(64), limits=LOW_EVIDENCE, latency_runs=1)
    assert report.misses() == []
    exact = [parity for parity in report.parities if parity.judged is Judged.EXACT]
    assert len(exact) == 4 and all(p.different == 0 for p in exact)


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
    assert report.latency.float_nodes == ()


def test_trained_integers_are_the_files_integers(
    make_prepared: Callable[..., PreparedModel], images: Dataset, tmp_path: Path
) -> None:
    """Law 2: learned-step training, then export: the codes in the file are the trained ones."""
    prepared = make_prepared("int4-npu", corrections=())  # training corrects more
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
    assert [p.different for p in report.parities if p.judged is Judged.EXACT] == [0] * 4


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


Change = Callable[[Path], None]


def verify_tampered(source: Path, folder: Path, data: Dataset, change: Change) -> Report:
    """Verify a copy of a bundle after ``change``, its manifest made to fit."""
    shutil.copytree(source, folder)
    (folder / "manifest.json").unlink()
    change(folder)
    write_manifest(folder, {})
    return pipeline.verify(folder, data.take(64), limits=LOW_EVIDENCE, latency_runs=1)


def change_initializer(name: str, file: str) -> Change:
    """The first code becomes another: a weight flips to the far side, a bias moves by 300."""

    def change(folder: Path) -> None:
        model = onnx.load(folder / file)
        tensor = next(t for t in model.graph.initializer if t.name == name)
        codes = onnx.numpy_helper.to_array(tensor).copy()
        first = int(codes.flat[0])
        codes.flat[0] = first + 300 if "bias" in name else -7 if first > 0 else 7
        tensor.CopyFrom(onnx.numpy_helper.from_array(codes, name))
        onnx.save(model, folder / file)

    return change


@pytest.mark.parametrize("file", ["model.onnx", "model.onnxruntime.onnx"])
@pytest.mark.parametrize("tensor", ["block1.pointwise.weight.codes", "head.bias.codes"])
def test_a_changed_code_is_found_and_named(
    bundles: Callable[[str], Path], unseen: Dataset, tmp_path: Path, file: str, tensor: str
) -> None:
    """One code changed in either file: the comparisons can fail, and say where first."""
    change = change_initializer(tensor, file)
    if file == "model.onnx":  # golden vectors would speak first
        change = both(change, without_golden_check)
    report = verify_tampered(bundles("int4-npu"), tmp_path / "b", unseen, change)
    side = "simulator" if file == "model.onnx" else "runtime"
    first = next(miss for miss in report.misses() if miss.startswith(f"reference = {side}"))
    assert report.exit_code == 1 and tensor.rsplit(".", 2)[0] in first


def both(first: Change, second: Change) -> Change:
    def change(folder: Path) -> None:
        first(folder)
        second(folder)

    return change


def without_golden_check(folder: Path) -> None:
    """Golden vectors of the changed file: the fault must show elsewhere."""
    golden = np.load(folder / "golden.npz")
    inputs = {"x": golden["input/x"]}
    simulation = pipeline.simulate(onnx.load(folder / "model.onnx"), inputs, "int4-npu")
    arrays = simulation_arrays(simulation)
    np.savez(folder / "golden.npz", allow_pickle=False, **{"input/x": inputs["x"]}, **arrays)


def test_a_changed_output_scale_is_found(
    bundles: Callable[[str], Path], unseen: Dataset, tmp_path: Path
) -> None:
    """Codes equal, reals not: the last DequantizeLinear reads with a scale of its own."""

    def change(folder: Path) -> None:
        model = onnx.load(folder / "model.onnxruntime.onnx")
        for tensor in model.graph.initializer:
            if tensor.name == "head.scale":
                other = onnx.numpy_helper.to_array(tensor) * np.float32(1.0625)
                tensor.CopyFrom(onnx.numpy_helper.from_array(other, tensor.name))
        onnx.save(model, folder / "model.onnxruntime.onnx")

    report = verify_tampered(bundles("int4-npu"), tmp_path / "b", unseen, change)
    assert report.exit_code == 1 and "output head" in " ".join(report.misses())


def test_changed_golden_vectors_are_found(
    bundles: Callable[[str], Path], unseen: Dataset, tmp_path: Path
) -> None:
    def change(folder: Path) -> None:
        golden = dict(np.load(folder / "golden.npz"))
        golden["codes/stem.codes"] = golden["codes/stem.codes"] * 0
        np.savez(folder / "golden.npz", allow_pickle=False, **golden)

    report = verify_tampered(bundles("int4-npu"), tmp_path / "b", unseen, change)
    assert report.conformance == (
        "golden.npz: codes/stem.codes is not what the simulation computes",
    )


def test_another_output_is_found(
    bundles: Callable[[str], Path], unseen: Dataset, tmp_path: Path
) -> None:
    def change(folder: Path) -> None:
        model = onnx.load(folder / "model.onnxruntime.onnx")
        extra = onnx.helper.make_tensor_value_info(
            "block1.add.dequantized", onnx.TensorProto.FLOAT, ["batch", 32, 8, 8]
        )
        model.graph.output.append(extra)
        onnx.save(model, folder / "model.onnxruntime.onnx")

    report = verify_tampered(bundles("int4-npu"), tmp_path / "b", unseen, change)
    assert report.exit_code == 1 and "has 2 outputs, the prepared model 1" in report.misses()[1]
