"""Bundles whose files take and give codes: exported, simulated, verified; 0 codes different."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from deployq import affine, pipeline
from deployq.bundle import read_bundle
from deployq.data import Dataset
from deployq.errors import InputError
from deployq.graph.preparation import PreparedModel
from deployq.graph.recipe import Recipe
from deployq.sources import Preprocessing
from deployq.verifier.conformance import check_conformance
from deployq.verifier.evidence import Evidence
from deployq.verifier.report import Judged, Limits
from deployq_targets import load_profile
from deployq_targets.words import Edges

FEW = Limits(min_images=64, min_codes=900_000, min_distinct=1)
PIXELS = Recipe(images={"x": Preprocessing("x/16", channels="gray")})


@pytest.fixture(scope="module")
def integer_bundles(
    make_prepared: Callable[..., PreparedModel],
    calibration: Dataset,
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[str], Path]:
    """The digits network with integer edges, its input on the grid of its pixels."""
    folder = tmp_path_factory.mktemp("integer")

    def bundle(target: str) -> Path:
        if not (folder / target).exists():
            prepared = make_prepared(target, PIXELS)
            pipeline.export(prepared, folder / target, calibration, io="integer")
        return folder / target

    return bundle


@pytest.mark.parametrize("target", ["ort-cpu", "int8-npu", "int4-npu"])
def test_integer_edges_verify(
    integer_bundles: Callable[[str], Path], unseen: Dataset, target: str
) -> None:
    path = integer_bundles(target)
    report = pipeline.verify(path, unseen, limits=FEW, latency_runs=3)
    assert report.misses() == []
    exact = [parity for parity in report.parities if parity.judged is Judged.EXACT]
    assert len(exact) == 4 and all(p.different == 0 and p.compared > 10**6 for p in exact)
    assert report.latency.integer_share == 1.0 and report.latency.float_nodes == ()
    assert len({report.accuracy[name] for name in ("reference", "runtime")}) == 1
    for name in ("model.onnx", "model.onnxruntime.onnx"):
        model = onnx.load(path / name)
        kinds = {v.type.tensor_type.elem_type for v in (*model.graph.input, *model.graph.output)}
        wanted = onnx.TensorProto.UINT8 if target == "ort-cpu" else onnx.TensorProto.INT8
        assert kinds == {wanted}
    canonical = onnx.load(path / "model.onnx").graph
    quantized = {n.input[0] for n in canonical.node if n.op_type == "QuantizeLinear"}
    assert "x" not in quantized and canonical.node[-1].op_type == "QuantizeLinear"


@pytest.mark.parametrize(("target", "offset"), [("ort-cpu", 0), ("int8-npu", 128)])
def test_pixels_go_straight_in(
    integer_bundles: Callable[[str], Path], unseen: Dataset, target: str, offset: int
) -> None:
    """Bytes of the images, less 128 where codes are signed, are what float samples become."""
    path = integer_bundles(target)
    few = unseen.take(32)
    pixels = np.round(few.inputs["x"] * 16).astype(np.uint8)
    codes = pixels if not offset else (pixels ^ 128).view(np.int8)
    straight = pipeline.simulate(path, {"x": codes})
    floats = pipeline.simulate(path, {"x": few.inputs["x"]})
    np.testing.assert_array_equal(straight.codes["x"].numpy(), pixels.astype(int) - offset)
    for name, tensor in floats.codes.items():
        assert torch.equal(tensor, straight.codes[name]), name
    assert straight.outputs["head"].dtype == codes.dtype


def test_the_manifest_states_every_edge(integer_bundles: Callable[[str], Path]) -> None:
    path = integer_bundles("int4-npu")
    bundle, evidence = read_bundle(path), Evidence(path)
    assert bundle.facts["io"] == "integer"
    (note,) = bundle.facts["notes"]
    assert note == "x: code = pixel - 128, its grid is pinned to that"
    edges = bundle.facts["edges"]
    tensors = {"model.onnx": "INT8", "model.onnxruntime.onnx": "INT8"}
    assert edges["inputs"]["x"] == {
        "kind": "integer", "type": "s8", "range": [-128, 127], "scale": 0.0625, "zero_point": -128,
        "tensors": tensors,
    }  # fmt: skip
    head = edges["outputs"]["head"]
    assert head["scale"] == float(evidence.grids["head"].scale) and head["tensors"] == tensors
    evidence.facts = {"edges": json.loads(json.dumps(edges).replace("0.0625", "0.0626"))}
    (fault,) = check_conformance(evidence)
    assert "manifest.json is wrong on inputs x" in fault


def test_golden_vectors_are_the_codes_that_a_chip_is_fed(
    integer_bundles: Callable[[str], Path], calibration: Dataset
) -> None:
    path = integer_bundles("int8-npu")
    golden, evidence = np.load(path / "golden.npz"), Evidence(path)
    fed = affine.quantize(calibration.inputs["x"][:16], evidence.grids["x"])
    assert golden["input/x"].dtype == np.int8 and golden["output/head"].dtype == np.int8
    np.testing.assert_array_equal(golden["input/x"], fed)
    simulation = pipeline.simulate(path, {"x": golden["input/x"]})
    np.testing.assert_array_equal(simulation.outputs["head"], golden["output/head"])


def test_verify_takes_codes_for_the_same_verdict(
    integer_bundles: Callable[[str], Path], unseen: Dataset
) -> None:
    path, few = integer_bundles("int8-npu"), unseen.take(64)
    grid = Evidence(path).grids["x"]
    codes = Dataset({"x": affine.quantize(few.inputs["x"], grid)}, few.labels)
    low = Limits(min_images=64, min_codes=1, min_distinct=1)
    reports = [pipeline.verify(path, d, limits=low, latency_runs=1) for d in (few, codes)]
    assert reports[0].parities == reports[1].parities and reports[0].misses() == []
    pixels = Dataset({"x": np.zeros((4, 1, 8, 8), np.uint8)})
    with pytest.raises(InputError, match="a pixel p is code p - 128"):
        pipeline.verify(path, pixels)


def test_two_exports_are_byte_identical(
    make_prepared: Callable[..., PreparedModel], calibration: Dataset, tmp_path: Path
) -> None:
    for name in ("a", "deep/er/b"):
        prepared = make_prepared("int4-npu", PIXELS)
        pipeline.export(prepared, tmp_path / name, calibration, io=Edges.INTEGER)
    first, second = tmp_path / "a", tmp_path / "deep/er/b"
    names = sorted(path.name for path in first.iterdir())
    assert len(names) == 6 and names == sorted(path.name for path in second.iterdir())
    for name in names:
        assert (first / name).read_bytes() == (second / name).read_bytes(), name


NARROW = """
schema = 1
name = "narrow-edges"
summary = "lowbit-vlsi whose inputs are as narrow as every activation"
extends = "lowbit-vlsi"
without = ["activation.io"]
"""


@pytest.mark.parametrize(("bits", "tensor"), [(4, "INT4"), (3, "INT4"), (5, "INT8")])
def test_edges_under_8_bits_lie_one_a_byte_in_the_runtime_file(
    make_prepared: Callable[..., PreparedModel], unseen: Dataset, tmp_path: Path, bits: int,
    tensor: str,
) -> None:  # fmt: skip
    (tmp_path / "narrow.toml").write_text(NARROW)
    prepared = make_prepared(str(tmp_path / "narrow.toml"), Recipe(4, bits))
    pipeline.export(prepared, tmp_path / "b", unseen, io="integer")
    edges = read_bundle(tmp_path / "b").facts["edges"]
    for edge in (edges["inputs"]["x"], edges["outputs"]["head"]):
        high = (1 << bits - 1) - 1
        assert (edge["type"], edge["range"]) == (f"s{bits}", [-high - 1, high])
        assert edge["tensors"] == {"model.onnx": tensor, "model.onnxruntime.onnx": "INT8"}
    report = pipeline.verify(tmp_path / "b", unseen, limits=FEW, latency_runs=1)
    assert report.misses() == [] and report.latency.float_nodes == ()
    with pytest.raises(InputError, match=f"codes 0..{high + 1}"):
        pipeline.simulate(tmp_path / "b", {"x": np.full((1, 1, 8, 8), high + 1, np.int8)})


class Ends(nn.Module):
    """An input in float, an output twice, moved codes and a float output."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)

    def forward(
        self, image: torch.Tensor, real: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        found = self.conv(image)
        return found, found.flatten(1), torch.softmax(real, dim=1)


def test_what_has_no_grid_keeps_its_reals(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    images = generator.normal(size=(96, 1, 8, 8)).astype(np.float32)
    data = Dataset({"image": images, "real": images[:, 0, :, 0].copy()})
    torch.manual_seed(0)
    examples = [torch.zeros(2, 1, 8, 8), torch.zeros(2, 8)]
    prepared = pipeline.calibrate(pipeline.prepare(Ends(), examples, "int8-npu"), data)
    pipeline.export(prepared, tmp_path / "b", data, io="integer")
    edges = read_bundle(tmp_path / "b").facts["edges"]
    kinds = {name: e["kind"] for side in edges.values() for name, e in side.items()}
    assert (kinds["image"], kinds["real"], kinds["conv"]) == ("integer", "float", "integer")
    assert sorted(kinds.values()) == ["float", "float", "integer", "integer", "integer"]
    low = Limits(min_images=64, min_codes=1, min_distinct=1)
    report = pipeline.verify(tmp_path / "b", data, limits=low, latency_runs=1)
    assert report.misses() == []


def test_the_profile_decides_where_nobody_asks(
    make_prepared: Callable[..., PreparedModel], calibration: Dataset, tmp_path: Path
) -> None:
    assert load_profile("int8-npu").graph.io is Edges.FLOAT
    assert load_profile("cmsis-nn").graph.io is Edges.INTEGER
    text = NARROW.replace("lowbit-vlsi", "int8-npu").replace('without = ["activation.io"]', "")
    (tmp_path / "own.toml").write_text(text + '[graph]\nio = "integer"\n')
    prepared = make_prepared(str(tmp_path / "own.toml"))
    assert pipeline.export(prepared, tmp_path / "a", calibration).facts["io"] == "integer"
    bundle = pipeline.export(prepared, tmp_path / "b", calibration, io="float")
    assert bundle.facts["edges"]["inputs"]["x"]["kind"] == "float"
    with pytest.raises(InputError, match="allowed: float, integer"):
        pipeline.export(prepared, tmp_path / "c", calibration, io="int8")
