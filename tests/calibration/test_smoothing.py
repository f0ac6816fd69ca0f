"""Smoothing: the float function stays, ranges fall, and codes are exact through the export."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from torch import Tensor, nn

import deployq
from deployq.data import Dataset
from deployq.errors import InputError
from deployq.graph.preparation import PreparedModel
from deployq.verifier.report import Judged
from deployq_calibration.calibration_settings import CalibrationSettings
from deployq_calibration.corrections import CorrectionSettings, check_corrections, smooth
from deployq_calibration.corrections.modes import in_float
from deployq_calibration.corrections.smoothing import smoothing_factors

OUTLIERS = 3, 11


class Block(nn.Module):
    """A block with outlying channels, and a LayerNorm that a residual reads too."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.LayerNorm(16), nn.LayerNorm(16)
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)
        self.a, self.b = nn.Linear(16, 16), nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        y = self.last(x)
        scores: Tensor = self.b((y + self.a(y)).mean(1))
        return scores


def images(count: int = 96) -> Tensor:
    return torch.randn(count, 6, 16, generator=torch.Generator().manual_seed(4))


def data() -> Dataset:
    return Dataset({"x": images().numpy()})


def batches() -> list[tuple[Tensor]]:
    return [(images(),)]


def prepared_block(target: str = "int8-npu") -> PreparedModel:
    torch.manual_seed(2)
    net = Block().eval()
    with torch.no_grad():
        net.first.weight[list(OUTLIERS)] *= 60  # and what reads them is small, as in real ones
        net.attention.in_proj_weight[:, list(OUTLIERS)] /= 60
        net.first.bias.normal_()
    return deployq.prepare(net, [images(2)], target)


def outputs(prepared: PreparedModel) -> Tensor:
    with in_float(prepared.module), torch.no_grad():
        found: Tensor = prepared.module(images())
    return found


def codes_error(*corrections: str) -> float:
    prepared = prepared_block()
    wanted = outputs(prepared)
    deployq.calibrate(prepared, data(), CalibrationSettings(corrections=corrections))
    with torch.no_grad():
        return float((prepared.module(images()) - wanted).square().mean())


def test_the_function_stays_and_the_range_falls() -> None:
    prepared = prepared_block()
    before = outputs(prepared)
    first, last = smooth(prepared, batches, CorrectionSettings())
    assert first.name == "first" and first.before > 5 and first.after < 0.5 * first.before
    assert last.name == "last" and last.skipped == "not only linear layers read it"
    # factors are no powers of two: a few float32 roundings a layer
    torch.testing.assert_close(outputs(prepared), before, rtol=1e-4, atol=1e-5)


def test_powers_of_two_change_no_bit_of_the_function() -> None:
    prepared = prepared_block()
    before = outputs(prepared)
    first, _ = smooth(prepared, batches, CorrectionSettings(smoothing_powers=True))
    assert first.after < 0.5 * first.before
    assert torch.equal(outputs(prepared), before)


@pytest.mark.parametrize("name", ["smoothing", "smoothing:0.7", "smoothing:0.5:pow2"])
def test_codes_are_nearer_to_the_float_network(name: str) -> None:
    assert codes_error(name) < 0.1 * codes_error()


@examples(deadline=None)
@given(st.integers(0, 1000), st.floats(0, 1))
def test_factors_are_equation_4(seed: int, alpha: float) -> None:
    draw = torch.Generator().manual_seed(seed)
    x, w = (torch.rand(8, generator=draw, dtype=torch.float64) + 1e-3 for _ in range(2))
    x[0], w[1] = 0.0, 0.0
    factors = smoothing_factors(x, w, CorrectionSettings(smoothing=alpha))
    assert factors[0] == factors[1] == 1
    torch.testing.assert_close(factors[2:], x[2:] ** alpha / w[2:] ** (1 - alpha))
    powers = smoothing_factors(x, w, CorrectionSettings(smoothing=alpha, smoothing_powers=True))
    assert bool((torch.frexp(powers).mantissa == 0.5).all())
    assert bool(((powers / factors).log2().abs() <= 0.5 + 1e-9).all())


@pytest.mark.parametrize("target", ["int8-npu", "ort-cpu"])
def test_codes_are_exact_through_the_export(target: str, tmp_path: Path) -> None:
    prepared = prepared_block(target)
    settings = CalibrationSettings("percentile:99.9", corrections=("smoothing:0.5:pow2",))
    told: list[Any] = []
    deployq.calibrate(prepared, data(), settings, report=told.extend)
    assert told[0].to_json()["correction"] == "smoothing"
    grid = prepared.quantizers()["first"]
    assert int(grid.zero_point) != (grid.qtype.qmin + grid.qtype.qmax + 1) // 2  # asymmetric
    deployq.export(prepared, tmp_path / "bundle", data())
    report = deployq.verify(tmp_path / "bundle", data(), latency_runs=1)
    exact = [p for p in report.parities if p.judged is Judged.EXACT]
    assert exact and not any(p.different for p in exact)


@pytest.mark.parametrize(
    "wish", ["smoothing:2", "smoothing:much", "smoothing:0.5:pow3", "smoothing:0.5:pow2:x"]
)
def test_parameters_that_make_no_sense_are_refused(wish: str) -> None:
    with pytest.raises(InputError, match=rf"(?s)^corrections: .*found: {wish}.*next: 0\.5"):
        check_corrections((wish,))
    with pytest.raises(InputError, match=r"(?s)must exist.*found: bias:3"):
        check_corrections(("bias:3",))
