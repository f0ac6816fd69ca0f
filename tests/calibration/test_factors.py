"""Factors behind functions in float: where they pay, the function stays, and codes stay exact."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

import deployq
from deployq import jobs
from deployq.arithmetic.contract import QDQ
from deployq.data import Dataset
from deployq.graph.codes import evaluate_codes
from deployq.graph.preparation import PreparedModel
from deployq.qgraph import read_graph
from deployq.simulator import run_graph
from deployq_calibration.calibration_settings import CalibrationSettings
from deployq_calibration.corrections import CorrectionSettings, scale_channels
from deployq_calibration.corrections.factors import channel_factors
from deployq_calibration.corrections.modes import in_float
from deployq_exporters.lowering import lower, to_proto
from deployq_targets.checks import Severity, check_model
from tests.graph.networks import Net, profile_with

SIZE, HIDDEN, LOUD = 8, 16, 3
LINE = "gelu: float, a factor for each channel"


def rows(count: int = 64) -> Tensor:
    return torch.randn(count, 5, SIZE, generator=torch.Generator().manual_seed(0))


def data(count: int = 64) -> Dataset:
    return Dataset({"x": rows(count).numpy()})


def body(m: Any, x: Tensor) -> Any:
    return m.head(m.last(m.two(F.gelu(m.one(x))))[:, 0])


def network(peak: float = 600.0, run: Any = body) -> nn.Module:
    """One channel behind GELU is ``peak`` times as large as the others, its column as small."""
    torch.manual_seed(0)
    net = Net(run, one=nn.Linear(SIZE, HIDDEN), two=nn.Linear(HIDDEN, SIZE),
              last=nn.LayerNorm(SIZE), head=nn.Linear(SIZE, 3)).eval()  # fmt: skip
    with torch.no_grad():
        net.one.weight[LOUD] *= peak
        net.two.weight[:, LOUD] /= peak
    return net


def prepared(target: Any = "ort-cpu", net: nn.Module | None = None) -> PreparedModel:
    return deployq.prepare(network() if net is None else net, [rows(2)], target)


def calibrated(target: Any = "ort-cpu", *corrections: str) -> PreparedModel:
    made = prepared(target)
    return deployq.calibrate(made, data(), CalibrationSettings(corrections=corrections))


def scaled(made: PreparedModel) -> Any:
    return scale_channels(made, lambda: [(rows(),)], CorrectionSettings())


def reals(made: PreparedModel) -> Tensor:
    with in_float(made.module), torch.no_grad():
        found: Tensor = made.module(rows())
    return found


def test_one_loud_channel_gets_a_factor_and_no_bit_of_the_function_changes() -> None:
    made = prepared()
    before = reals(made)
    (change,) = scaled(made)
    assert change.name == "gelu" and change.before > 0.01 and change.after < 0.5 * change.before
    assert LINE in made.floats and LINE not in made.plan.floats
    assert torch.equal(reals(made), before)
    factors = dict(made.module.named_buffers())["deployq.factors.gelu"]
    assert factors.shape == (HIDDEN,) and int(factors.argmin()) == LOUD
    assert torch.equal(torch.frexp(factors).mantissa, torch.full((HIDDEN,), 0.5))


def test_codes_are_nearer_to_the_float_network() -> None:
    wanted = reals(prepared())
    with torch.no_grad():
        errors = [
            float((calibrated("ort-cpu", *names).module(rows()) - wanted).square().mean())
            for names in ((), ("factors",))
        ]
    assert errors[1] < 0.1 * errors[0]


def test_they_are_part_of_the_default() -> None:
    made = deployq.calibrate(prepared(), data())
    assert LINE in made.floats


@pytest.mark.parametrize(
    ("target", "net", "reason"),
    [
        ("ort-cpu", network(1.0), "one scale fits"),
        ("lowbit-vlsi", network(), "lowbit-vlsi has it on codes"),
        (
            "ort-cpu",
            network(run=lambda m, x: (y := F.gelu(m.one(x)), m.two(y), y.exp())[1:]),
            "not only fully connected layers read it",
        ),
        (
            "ort-cpu",
            network(run=lambda m, x: m.two(F.gelu(m.one(x))) + m.two(F.gelu(m.one(x + 1)))),
            "a weight is read twice",
        ),
    ],
)
def test_a_site_stays_for_a_reason(target: str, net: nn.Module, reason: str) -> None:
    made = prepared(target, net)
    changes = scaled(made)
    assert changes and all(reason in change.skipped for change in changes)
    assert not any("factor" in line for line in made.floats)


def test_what_nothing_mends_stays() -> None:
    """Where the loud channel's column is as loud, it is the output: its weights are the problem."""
    net = network()
    with torch.no_grad():
        net.two.weight[:, LOUD] *= 600 * 600
    (change,) = scaled(prepared("ort-cpu", net))
    assert change.skipped.startswith("factors leave")


def test_factors_are_not_put_twice() -> None:
    made = prepared()
    scaled(made)
    (again,) = scaled(made)
    assert again.skipped == "it has factors"


def test_a_network_without_such_a_function_needs_no_data() -> None:
    def never() -> Any:
        raise AssertionError

    made = prepared(net=Net(lambda m, x: m.b(F.relu(m.a(x))), a=nn.Linear(SIZE, 4),
                            b=nn.Linear(4, 3)))  # fmt: skip
    assert scale_channels(made, never, CorrectionSettings()) == ()


@examples(deadline=None)
@given(st.integers(0, 1000), st.floats(0, 1))
def test_factors_are_equation_4_beside_the_mean_channel(seed: int, alpha: float) -> None:
    draw = torch.Generator().manual_seed(seed)
    x, w = (torch.rand(8, generator=draw, dtype=torch.float64) + 1e-3 for _ in range(2))
    x[0], w[1] = 0.0, 0.0
    factors = channel_factors(x, w, alpha)
    assert factors[0] == factors[1] == 1
    wanted = ((x / x.mean()) ** alpha / (w / w.mean()) ** (1 - alpha))[2:].clamp(min=1)
    assert bool((torch.frexp(factors).mantissa == 0.5).all())
    assert bool(((factors[2:] / wanted).log2().abs() <= 0.5 + 1e-9).all())


@pytest.mark.parametrize("target", ["ort-cpu", "int8-npu", "openvino-cpu", "tensorrt"])
def test_file_simulator_and_reference_agree_on_every_code(target: str) -> None:
    made = calibrated(target, "factors")
    assert LINE in made.floats
    model = to_proto(lower(made, made.profile))
    graph = read_graph(model)
    names = [node.name for node in graph.floats]
    assert names.index("gelu") == names.index("gelu.unscaled") + 1
    simulated = run_graph(graph, QDQ, {"x": rows().numpy()}).codes
    for name, codes in evaluate_codes(made, QDQ, rows()).items():
        # torch and ONNX Runtime have a GELU each: here no code of 5120 is near a tie
        assert torch.equal(codes.long(), simulated[f"{name}.codes"].long()), name
    errors = [f for f in check_model(model, made.profile) if f.severity is Severity.ERROR]
    assert errors == []


def test_a_bundle_has_them_and_is_verified(tmp_path: Path) -> None:
    made = calibrated("ort-cpu", "factors")
    deployq.export(made, tmp_path / "bundle", data())
    loaded = deployq.load_prepared(tmp_path / "bundle")
    assert loaded.floats == made.floats
    with torch.no_grad():
        assert torch.equal(loaded.module(rows()), made.module(rows()))
    report = deployq.verify(tmp_path / "bundle", data(), latency_runs=1)
    assert [p.name for p in report.parities if p.misses()] == []
    assert LINE in report.floats and LINE in jobs.inspect_file(tmp_path / "bundle").floats
    assert report.latency is not None and report.latency.integer_share == 1.0
    stored = {t.name: t for t in onnx.load(tmp_path / "bundle/model.onnx").graph.initializer}
    factors = onnx.numpy_helper.to_array(stored["deployq.factors.gelu"])
    assert np.array_equal(factors, loaded.module.get_buffer("deployq.factors.gelu").numpy())


def test_a_target_without_products_in_reals_has_codes_in_front_of_the_function() -> None:
    profile = profile_with("ort-cpu", graph__real_outputs=[])
    made = calibrated(profile, "factors")
    assert LINE in made.floats
    graph = read_graph(to_proto(lower(made, made.profile)))
    simulated = run_graph(graph, QDQ, {"x": rows().numpy()}).codes
    for name, codes in evaluate_codes(made, QDQ, rows()).items():
        assert torch.equal(codes.long(), simulated[f"{name}.codes"].long()), name
