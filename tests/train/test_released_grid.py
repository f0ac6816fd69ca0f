"""The released grid of SAQ: its levels and gradients, and that no file can hold it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import deployq
from deployq.errors import UnsupportedError
from deployq.graph.integers import layer_integers
from deployq.qparams import PerTensor
from deployq.qtypes import QType
from deployq.train import SQWA
from deployq.train.released_grid import ReleasedGrid, use_released_grid
from tests.train.loops import learning


def grid(bits: int, clip: float) -> ReleasedGrid:
    found = ReleasedGrid(QType(bits, True), PerTensor(), symmetric=True, calibrated=True)
    found.scale.data.fill_(clip)
    return found


@pytest.mark.parametrize(
    ("bits", "levels"), [(2, [-0.6, -0.2, 0.2, 0.6]), (3, [j * 0.6 / 7 for j in range(-7, 8, 2)])]
)
def test_levels_are_odd_multiples_without_zero(bits: int, levels: list[float]) -> None:
    found = grid(bits, 0.6)(torch.linspace(-2, 2, 4001)).unique()
    torch.testing.assert_close(found, torch.tensor(levels))  # one rounding of float32 each


def test_gradients_are_the_published_ones() -> None:
    weight = torch.tensor([-1.0, -0.35, 0.1, 0.45, 2.0], requires_grad=True)
    quantizer = grid(2, 0.6)
    quantizer.scale.requires_grad_()
    found = quantizer(weight)
    grads = torch.autograd.grad(found, [weight], torch.ones(5), retain_graph=True)[0]
    assert grads.tolist() == [0.0, 1.0, 1.0, 1.0, 0.0]
    unit = weight.detach() / 0.6
    inside = unit.abs() <= 1
    wanted = found.detach() / 0.6 - torch.where(inside, unit, 0.0)
    for index in range(5):
        (slope,) = torch.autograd.grad(found[index], quantizer.scale, retain_graph=True)
        torch.testing.assert_close(slope, wanted[index])
    assert torch.equal(quantizer.passes(weight), inside)


def test_it_trains_and_no_file_can_hold_it(tmp_path: Path) -> None:
    prepared = learning()
    use_released_grid(prepared)
    for unit in prepared.units().values():
        unit.weight_quantizer.learn_scale()
    prepared.module(torch.randn(4, 3, 6, 6)).square().sum().backward()
    assert all(unit.weight_quantizer.scale.grad is not None for unit in prepared.units().values())
    for refused in (
        lambda: deployq.save_prepared(prepared, tmp_path / "prepared"),
        lambda: layer_integers(prepared),
    ):
        with pytest.raises(UnsupportedError, match=r"(?s)released grid.*none of them zero"):
            refused()
    with pytest.raises(UnsupportedError, match=r"(?s)released grid.*is a clip.*before use_rel"):
        SQWA(prepared).begin()
