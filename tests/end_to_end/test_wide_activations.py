"""The main job with 16-bit activations, accumulators of 48 bits and biases of 64."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

import deployq
from deployq import pipeline
from deployq.data import Dataset
from deployq.graph.preparation import PreparedModel
from deployq.verifier.report import Judged, Limits, Report

LITTLE = Limits(min_images=64, min_codes=900_000, min_distinct=1)

PROFILE = """
schema = 1
name = "npu-16x8"
summary = "int8-npu with 16-bit activations"
extends = "int8-npu"
without = ["weight.sum_abs_max", "weight.qmin", "weight.qmax", "activation.fixed_output"]

[container]
int_types = ["s8", "s16", "s32"]

[activation]
bits = [16]
types = ["s16"]
symmetry = "symmetric"
zero_point = "zero"

[weight]
bits = [{bits}]
types = ["s{bits}"]

[bias]
bits = 64
signed_bits_max = 64

[accumulator]
bits = {accumulator}
overflow = "{overflow}"

[verify]
tool = "none"
"""


def profile(folder: Path, bits: int, accumulator: int = 48, overflow: str = "reject") -> str:
    path = folder / f"w{bits}-{accumulator}-{overflow}.toml"
    path.write_text(PROFILE.format(bits=bits, accumulator=accumulator, overflow=overflow))
    return str(path)


@pytest.fixture(scope="module", params=[8, 16], ids=["16x8", "16x16"])
def exported(
    request: pytest.FixtureRequest,
    make_prepared: Callable[..., PreparedModel],
    calibration: Dataset,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, int]:
    folder = tmp_path_factory.mktemp("wide")
    prepared = make_prepared(profile(folder, request.param), corrections=())
    pipeline.export(prepared, folder / "bundle", calibration)
    return folder / "bundle", request.param


@pytest.fixture(scope="module")
def report(exported: tuple[Path, int], unseen: Dataset) -> Report:
    return pipeline.verify(exported[0], unseen.take(96), limits=LITTLE, latency_runs=1)


def test_it_verifies_without_integer_kernels(report: Report) -> None:
    assert report.misses() == []
    exact = [parity for parity in report.parities if parity.judged is Judged.EXACT]
    assert [parity.name for parity in exact] == ["reference = simulator"]  # no kernel computes it
    assert exact[0].different == 0 and exact[0].compared > 2 * 10**6
    assert max(row.distinct for row in exact[0].layers) > 10_000
    assert report.latency.integer_share == 0.0
    assert report.accuracy["reference"] == report.accuracy["runtime"]


def test_a_run_in_float_is_held_to_what_float32_can_tell(report: Report) -> None:
    near = [parity for parity in report.parities if parity.judged is Judged.NEAR]
    assert len(near) == 2
    for row in (row for parity in near for row in parity.layers):
        assert row.noise == 256 and row.max_lsb <= 1
    assert sum(parity.different for parity in near) > 0
    (top,) = (parity for parity in report.parities if parity.judged is Judged.TOP1)
    assert top.contract == "onnx-qdq" and top.top1 is not None
    assert top.top1.agree == top.top1.decided > 80


def test_the_file_is_what_the_profile_says(exported: tuple[Path, int], tmp_path: Path) -> None:
    path, bits = exported
    model = onnx.load(path / "model.onnx")
    types = {t.name: t.data_type for t in model.graph.initializer}
    assert types["stem.zero_point"] == onnx.TensorProto.INT16
    assert types["stem.weight.codes"] == getattr(onnx.TensorProto, f"INT{bits}")
    assert types["stem.bias.codes"] == onnx.TensorProto.INT32
    assert model.opset_import[0].version == 21
    found = deployq.check(path / "model.onnx", profile(tmp_path, bits))
    assert [f.rule for f in found if f.severity == "error"] == []
    refused = {f.rule for f in deployq.check(path / "model.onnx", "int8-npu")}
    assert refused >= {"activation-type"}


def test_sums_are_proven_and_a_narrow_register_overflows(
    exported: tuple[Path, int], unseen: Dataset, tmp_path: Path
) -> None:
    path, bits = exported
    few = unseen.take(4)
    wide = deployq.prove_accumulators(path, profile(tmp_path, bits), few)
    assert wide.fits and wide.samples == 4
    narrow = 18 + bits
    assert not deployq.prove_accumulators(path, profile(tmp_path, bits, narrow)).fits
    names = (profile(tmp_path, bits, 16 + bits, way) for way in ("saturate", "wrap"))
    whole = pipeline.simulate(path, few.inputs).codes["head.codes"]
    for target in names:
        codes = pipeline.simulate(path, few.inputs, target).codes["head.codes"]
        assert not np.array_equal(codes, whole)
