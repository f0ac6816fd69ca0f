"""Option-A shortcuts on targets without Slice: which become convolutions, and that codes stay."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from deployq import pipeline
from deployq.data import Dataset
from deployq.errors import InputError, UnsupportedError
from deployq.graph.capture import capture
from deployq.graph.codes import evaluate_codes
from deployq.graph.plan import Plan
from deployq.graph.preparation import PreparedModel
from deployq.graph.selections import Selection, find_selections, planned_chain
from deployq.verifier.report import Judged, Limits
from deployq_calibration.calibration_settings import CalibrationSettings
from deployq_exporters import selection_layers
from deployq_targets import load_profile
from deployq_targets.checks import Severity

Shortcut = Callable[[Tensor], Tensor]
VLSI = load_profile("int2-vlsi")


def option_a(x: Tensor) -> Tensor:
    return functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 3, 5))


class Residual(nn.Module):
    """Four channels of 9x9, and a branch that is joined with a shortcut of them."""

    def __init__(self, shortcut: Shortcut) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.second = nn.Conv2d(4, 12, 3, 2, 1)
        self.last = nn.Linear(12, 5)
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x).relu()
        y = (self.second(x) + self.shortcut(x)).relu()
        z: Tensor = self.last(y.mean((2, 3)))
        return z


def selections(shortcut: Shortcut) -> list[Selection]:
    """Those that make what the shortcut gives."""

    class Alone(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return shortcut(x)

    module = capture(Alone(), [torch.zeros(2, 4, 9, 9)])
    (output,) = [node for node in module.graph.nodes if node.op == "output"]
    found = find_selections(module, VLSI)
    return [one for one in found if one.nodes[-1] in output.all_input_nodes]


TAKEN = {
    "option a": (option_a, (2, 2), (-1, -1, -1, 0, 1, 2, 3, -1, -1, -1, -1, -1)),
    "rows": (lambda x: x[:, :, ::2], (2, 1), (0, 1, 2, 3)),
    "channels": (lambda x: x[:, 1:, :, ::2], (1, 2), (1, 2, 3)),
    "channels in turn": (lambda x: x[:, ::2], (1, 1), (0, 2)),
    "to the last cell": (lambda x: x[:, :, :9:2, ::2], (2, 2), (0, 1, 2, 3)),
}


@pytest.mark.parametrize("case", TAKEN)
def test_a_selection_is_a_convolution(case: str) -> None:
    shortcut, strides, channels = TAKEN[case]
    (found,) = selections(shortcut)
    assert (found.strides, found.channels) == (strides, channels)
    x = torch.randn(2, 4, 9, 9)
    weight = torch.zeros(len(channels), 4, 1, 1)
    for output, channel in enumerate(channels):
        if channel >= 0:
            weight[output, channel] = 1
    assert torch.equal(functional.conv2d(x, weight, stride=strides), shortcut(x))


LEFT = {
    "from the second row": lambda x: x[:, :, 1::2],
    "without the last row": lambda x: x[:, :, :8:2],
    "every third row": lambda x: x[:, :, ::3],  # int2-vlsi has strides up to 2
    "twice every second row": lambda x: x[:, :, ::2][:, :, ::2],
    "rows of zeros": lambda x: functional.pad(x[:, ::2], (0, 0, 1, 1)),
    "ones": lambda x: functional.pad(x[:, ::2], (0, 0, 0, 0, 1, 1), value=1.0),
    "fewer channels": lambda x: functional.pad(x[:, ::2], (0, 0, 0, 0, -1, 0)),
    "other axes": lambda x: x.flatten(2)[:, :, ::2],
}


@pytest.mark.parametrize("case", LEFT)
def test_what_is_none_is_left(case: str) -> None:
    assert selections(LEFT[case]) == []


def test_a_target_with_slices_keeps_them() -> None:
    module = capture(Residual(option_a), [torch.zeros(2, 3, 9, 9)])
    assert find_selections(module, load_profile("int8-npu")) == []


def test_a_target_that_has_no_such_convolution_refuses_the_slice() -> None:
    with pytest.raises(UnsupportedError, match="max78000 has no Slice"):
        pipeline.prepare(Residual(option_a), [torch.zeros(2, 3, 9, 9)], "max78000")


@pytest.fixture(scope="module")
def data() -> Dataset:
    torch.manual_seed(0)
    return Dataset({"x": torch.randn(32, 3, 9, 9).numpy()})


STILL = """
schema = 1
name = "int8-npu-still"
summary = "int8-npu, whose zero points are free, without movements"
extends = "int8-npu"
[[op]]
type = "Slice"
status = "unsupported"
[[op]]
type = "Pad"
status = "unsupported"
"""


@pytest.fixture(scope="module", params=[None, STILL], ids=["int2-vlsi", "zero points"])
def prepared(
    request: pytest.FixtureRequest, data: Dataset, tmp_path_factory: pytest.TempPathFactory
) -> PreparedModel:
    path = tmp_path_factory.mktemp("profile") / "still.toml"
    path.write_text(request.param or "")
    target = path if request.param else VLSI
    torch.manual_seed(0)
    made = pipeline.prepare(Residual(option_a).eval(), [torch.zeros(2, 3, 9, 9)], target)
    return pipeline.calibrate(made, data, CalibrationSettings(corrections=()))


def test_every_code_of_the_file_is_the_network_s(
    prepared: PreparedModel, data: Dataset, tmp_path: Path
) -> None:
    path = tmp_path / "bundle"
    pipeline.export(prepared, path, data)
    assert Plan.from_json(prepared.plan.to_json()) == prepared.plan
    assert [plan.operators for plan in prepared.plan.selections] == [("Slice", "Slice", "Pad")]
    assert "Slice, Slice, Pad become a 1x1 Conv" in "\n".join(prepared.plan.lines())
    model = onnx.load(path / "model.onnx")
    assert not {"Slice", "Pad"} & {node.op_type for node in model.graph.node}
    found = pipeline.check(path, prepared.profile)
    assert [finding for finding in found if finding.severity is Severity.ERROR] == []
    wanted = evaluate_codes(
        pipeline.load_prepared(path), prepared.profile.contract(), torch.tensor(data.inputs["x"])
    )
    codes = {n: c.long() for n, c in pipeline.simulate(path, data.inputs).codes.items()}
    assert all(torch.equal(codes[f"{name}.codes"], wanted[name].long()) for name in wanted)
    (plan,) = prepared.plan.selections
    zero_point, source = int(prepared.grids()["first"].zero_point), codes["first.codes"]
    cells = functional.pad(source[:, :, ::2, ::2], (0, 0, 0, 0, 3, 5), value=zero_point)
    assert torch.equal(codes[f"{plan.name}.codes"], cells) and cells.unique().numel() > 10
    report = pipeline.verify(path, data, limits=Limits(1, 1, 1), latency_runs=1)
    exact = [parity for parity in report.parities if parity.judged is Judged.EXACT]
    assert exact and all(parity.different == 0 for parity in exact)
    assert report.misses() == []


def test_a_plan_of_another_network_is_refused(prepared: PreparedModel) -> None:
    (plan,) = prepared.plan.selections
    wrong = ({"name": "other"}, {"tensors": plan.tensors[1:] + plan.tensors[:1]}, {"inputs": 1})
    for change in wrong:
        with pytest.raises(InputError, match="chain of movements that its plan names"):
            planned_chain(prepared.module, replace(plan, **change))


def test_an_arithmetic_that_changes_codes_is_refused(
    prepared: PreparedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = selection_layers.requantize

    def off_by_one(sums: Tensor, *arguments: object, **facts: object) -> Tensor:
        made = original(sums, *arguments, **facts)  # type: ignore[arg-type]
        return torch.where(sums == sums.max(), made - 1, made)

    monkeypatch.setattr(selection_layers, "requantize", off_by_one)
    with pytest.raises(UnsupportedError, match="leaves every code as it is") as error:
        selection_layers.selection_layers(prepared)
    highest = int(np.max([tensor.qtype.qmax for tensor in prepared.plan.tensors]))
    assert error.value.found == f"code {highest} becomes {highest - 1}"
