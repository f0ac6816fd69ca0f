"""Learned rounding with attention inside a block, and Evol-Q on the codes that it chose."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import deployq
from deployq.data import Dataset
from deployq.errors import InputError
from deployq.graph.integers import linear_calls
from deployq.graph.preparation import PreparedModel
from deployq.graph.recipe import Recipe
from deployq_calibration.calibration_settings import CalibrationSettings
from deployq_calibration.corrections import DEFAULT
from deployq_calibration.corrections.blocks import find_blocks, linear_nodes
from deployq_calibration.evolq import Codes, EvolveSettings

FROZEN = EvolveSettings(passes=2, samples=60, batch=20, held_back=0.3, codes=Codes.FROZEN)


class Encoder(nn.Module):
    """Two pre-norm encoder layers of torch over six tokens; five scores of the first token."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(
            16, 2, 32, activation="gelu", norm_first=True, batch_first=True
        )
        self.body = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.head(self.body(x)[:, 0])
        return scores


def images(count: int, seed: int) -> Tensor:
    return torch.randn(count, 6, 16, generator=torch.Generator().manual_seed(seed))


def encoder() -> nn.Module:
    torch.manual_seed(1)
    return Encoder().eval()


def calibrated(*corrections: str, samples: int = 80, iterations: int = 60) -> PreparedModel:
    prepared = deployq.prepare(encoder(), [images(2, 0)], "int4-npu")
    settings = CalibrationSettings(corrections=corrections, iterations=iterations)
    return deployq.calibrate(prepared, data(samples), settings)


def data(samples: int = 80) -> Dataset:
    return Dataset({"x": images(samples, 1).numpy()})


def error(prepared: PreparedModel) -> float:
    """Of images that no correction has seen."""
    x = images(200, 2)
    with torch.no_grad():
        return float((prepared.module(x) - encoder()(x)).square().mean())


def codes(prepared: PreparedModel) -> dict[str, Tensor]:
    calls = linear_calls(prepared)
    return {c.name: c.unit.weight_quantizer.codes(c.seen_weight()) for c in calls}


def test_attention_is_one_block_and_its_codes_learn() -> None:
    plain, learned = (
        calibrated(*names, samples=512, iterations=200) for names in ((), ("rounding",))
    )
    layers = [len(linear_nodes(plain.module, b.nodes)) for b in find_blocks(plain.module)]
    assert [n for n in layers if n] == [4, 2, 4, 2, 1]  # q, k, v and output; MLP; head
    assert error(learned) < 0.9 * error(plain)  # random weights: trained ones gain more
    before = codes(plain)
    changed = {name for name, c in codes(learned).items() if not torch.equal(c, before[name])}
    assert {"body.layers.0.self_attn.out_proj", "body.layers.1.linear1"} <= changed


def test_a_residual_in_reals_parts_blocks_as_one_on_a_grid_does() -> None:
    """Targets whose products may end in reals have no quantizer behind the sums."""
    recipe = Recipe(weight_bits=4)
    plain, learned = (
        deployq.calibrate(
            deployq.prepare(encoder(), [images(2, 0)], "ort-cpu", recipe),
            data(512),
            CalibrationSettings(corrections=names, iterations=200),
        )
        for names in ((), ("rounding",))
    )
    blocks = find_blocks(plain.module)
    layers = [len(linear_nodes(plain.module, block.nodes)) for block in blocks]
    assert [n for n in layers if n] == [4, 2, 4, 2, 1]
    assert blocks[2].nodes[-1].target is torch.ops.aten.add.Tensor
    assert error(learned) < 0.9 * error(plain)


@pytest.mark.parametrize("corrections", [("rounding",), DEFAULT])
def test_evolq_keeps_the_codes_that_were_learned(corrections: tuple[str, ...]) -> None:
    prepared = calibrated(*corrections)
    learned = codes(prepared)
    with pytest.raises(InputError, match=r"(?s)^teacher: .*next: give the float network"):
        deployq.evolve_scales(prepared, data(), FROZEN)
    found = deployq.evolve_scales(prepared, data(), FROZEN, teacher=encoder())
    assert found.after < found.before
    assert all(torch.equal(learned[name], now) for name, now in codes(prepared).items())


def test_a_bundle_keeps_them_too(tmp_path: Path) -> None:
    prepared = calibrated(*DEFAULT)
    deployq.evolve_scales(prepared, data(), FROZEN, teacher=encoder())
    wanted = codes(prepared)
    bundle: Any = deployq.export(prepared, tmp_path / "bundle", data())
    again = deployq.load_prepared(bundle.path)
    assert all(torch.equal(wanted[name], now) for name, now in codes(again).items())
    report = deployq.verify(tmp_path / "bundle", data(), latency_runs=1)
    exact = [p for p in report.parities if p.judged == "exact"]
    assert exact and not any(p.different for p in exact)
    assert np.isfinite(error(again))
