"""MLPerf Tiny ResNet-8 with real weights and images: who agrees with whom, and why not."""

from __future__ import annotations

import pytest
import torch

import deployq
from benchmarks.models.registry import MODELS
from benchmarks.zoo import DATA
from deployq import pipeline
from deployq.arithmetic.contract import QDQ
from deployq.divergence.facts import Cause
from deployq.divergence.reference_side import Reference
from deployq.divergence.runtime_side import InRuntime
from deployq.divergence.sides import Array, Simulated
from deployq.graph.preparation import PreparedModel
from deployq.opened_file import OpenedFile
from deployq.qgraph import read_graph
from deployq_calibration.calibration_settings import CalibrationSettings
from deployq_exporters.dialects import DIALECTS, translate
from deployq_exporters.lowering import lower, to_proto
from deployq_targets import load_profile

SPEC = MODELS["cifar10_mlperf_resnet8"]
ORT, LITERT = (load_profile(name).contract() for name in ("ort-cpu", "litert-ref"))

pytestmark = pytest.mark.skipif(
    not (DATA / "models/cifar10_mlperf_resnet8.pt").is_file(), reason=f"no real data in {DATA}"
)


@pytest.fixture(scope="module")
def prepared() -> PreparedModel:
    model = pipeline.prepare(SPEC.load(), [torch.zeros(2, *SPEC.shape)], "int8-npu")
    plain = CalibrationSettings(corrections=())
    return pipeline.calibrate(model, SPEC.calibration().take(64), plain)


@pytest.fixture(scope="module")
def opened(prepared: PreparedModel) -> OpenedFile:
    model = to_proto(lower(prepared, prepared.profile))
    return OpenedFile(model, read_graph(model), prepared.profile, prepared.grids())


@pytest.fixture(scope="module")
def images() -> dict[str, Array]:
    return {"x": SPEC.reporting().take(16).inputs["x"]}


def test_reference_simulation_and_deployed_file_agree(
    prepared: PreparedModel, opened: OpenedFile, images: dict[str, Array]
) -> None:
    reference = Reference("reference", prepared, ORT, lambda: opened)
    deployed = InRuntime(
        "deployed", opened.rewritten(translate(opened.model, DIALECTS["onnxruntime"])),
        optimised=True,
    )  # fmt: skip
    for side in (Simulated("sim", opened, ORT), deployed):
        found = deployq.diff(reference, side, images)
        assert found.exit_code == 0 and found.compared > 1_500_000
        assert all(row.fed is not None for row in found.rows)


def test_two_contracts_part_in_the_first_layer(
    opened: OpenedFile, images: dict[str, Array]
) -> None:
    sides = Simulated("ort", opened, ORT), Simulated("litert", opened, LITERT)
    (explanation,) = deployq.diff(*sides, images).explanations
    assert (explanation.tensor, explanation.verdict) == ("conv1", Cause.ROUNDING)
    assert explanation.different > 100
    assert all("double" in tried.text for tried in explanation.shown)


def test_float_sums_flip_codes(opened: OpenedFile, images: dict[str, Array]) -> None:
    unoptimised = InRuntime("file", opened, optimised=False)
    found = deployq.diff(Simulated("sim", opened, QDQ), unoptimised, images)
    assert [e.verdict for e in found.explanations] == [Cause.FUSION]
    assert max(row.fed.max_lsb for row in found.rows if row.fed is not None) == 1
