"""A network that ends in Softmax: on codes where the target computes it so, else in float."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from deployq import pipeline
from deployq.data import Dataset
from deployq.verifier.report import Limits
from deployq_calibration.calibration_settings import CalibrationSettings
from tests.graph.networks import Net, conv

IMAGES = np.random.default_rng(0).normal(size=(96, 3, 6, 6)).astype(np.float32)


def network() -> nn.Module:
    """(N, 3, 6, 6) to shares of 5, and a Softmax over channels on the way."""
    torch.manual_seed(0)
    net = Net(
        lambda m, x: m.head((m.a(x).softmax(1) + m.b(x)).flatten(1)).softmax(-1),
        a=conv(3, 4),
        b=conv(3, 4),
        head=nn.Linear(144, 5),
    )
    return net.eval()


@pytest.mark.parametrize(("target", "integer"), [("ort-cpu", True), ("int8-npu", False)])
def test_softmax_verifies(target: str, integer: bool, tmp_path: Path) -> None:
    data = Dataset({"x": IMAGES})
    prepared = pipeline.prepare(network(), [torch.zeros(2, 3, 6, 6)], target)
    grids = {name for grid in prepared.plan.tensors for name in grid.tensors}
    assert ("softmax_1" in grids) is integer
    pipeline.calibrate(prepared, data, CalibrationSettings(corrections=()))
    pipeline.export(prepared, tmp_path / "bundle", data)
    few = Limits(1, 1, 1)
    report = pipeline.verify(tmp_path / "bundle", data, limits=few, latency_runs=1)
    assert report.misses() == []
    simulation = pipeline.simulate(tmp_path / "bundle", {"x": IMAGES[:4]})
    (shares,) = simulation.outputs.values()
    assert np.abs(shares.sum(-1) - 1).max() < 5 / 256
    assert bool(np.isin(shares * 256, np.arange(256)).all()) is integer


def test_a_masked_sum_of_reals_gets_no_grid_for_the_softmax_behind_it() -> None:
    mask = torch.zeros(6, 6)
    mask[0, 1:] = float("-inf")
    net = Net(lambda m, x: m.a((x / 3 + mask).softmax(-1)), a=conv(3, 4)).eval()
    prepared = pipeline.prepare(net, [torch.zeros(2, 3, 6, 6)], "ort-cpu")
    grids = {name for grid in prepared.plan.tensors for name in grid.tensors}
    assert "add" not in grids and {"softmax", "a"} <= grids
