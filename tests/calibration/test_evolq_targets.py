"""Evol-Q on targets that refuse some candidates: those are none, and the rest is deployed."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import deployq
from deployq.errors import UnsupportedError
from deployq.graph.integers import (
    grid_of,
    layer_integers,
    linear_calls,
    output_params,
    output_quantizer,
)
from deployq.graph.preparation import PreparedModel
from deployq.graph.scales.weight_lattice import has_multiplier
from deployq_calibration.calibration_settings import CalibrationSettings
from deployq_calibration.evolq import EvolveSettings
from deployq_calibration.evolq.outputs import Judge
from deployq_calibration.evolq.sites import search_blocks
from deployq_calibration.evolq.walk import mutated
from tests.calibration.evolq_variants import POW2, VARIANTS, Variant
from tests.calibration.test_evolq import SMALL, images, network


def dead_channels() -> nn.Module:
    """Four channels of zero weights with a bias."""
    net = network()
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if "m.2." in name:
                parameter[:4] = torch.tensor([3.0, -2, 5, 1]) if "bias" in name else 0.0
    return net


def test_the_genes_of_the_state_are_in_force(tmp_path: Path) -> None:
    variant = Variant({"activations": True, "searched": "all", "passes": 4, "free_passes": 0}, POW2)
    net, path = dead_channels(), tmp_path / "search"
    prepared = variant.model(tmp_path, net)
    found = variant.search(prepared, teacher=net, checkpoint=path)
    settings = EvolveSettings(**(vars(SMALL) | variant.settings))
    blocks = search_blocks(prepared, settings)
    tensors = torch.cat([block.read() for block in blocks])
    kept = load_file(path)
    assert torch.equal(tensors, torch.cat([kept[f"genes.{i}"] for i in range(len(blocks))]))
    again = variant.search(
        prepared, teacher=net, settings={"passes": 1, "children": 1, "width": 1e-9}
    )
    assert again.before == found.after


def test_no_candidate_on_a_lattice_loses_a_bias(tmp_path: Path) -> None:
    settings = EvolveSettings(**(vars(SMALL) | {"activations": True, "searched": "all"}))
    prepared = Variant(table=POW2).model(tmp_path, dead_channels())
    draw, refused = torch.Generator().manual_seed(0), 0
    for block in search_blocks(prepared, settings):
        start = block.read()
        for _ in range(40):
            block.write(mutated(block, start, settings, draw))
            if not block.holds():
                refused += 1
                continue
            found = layer_integers(prepared, block.layers)
            assert not any(layer.codes.rescued for layer in found.values())
        block.write(start)
        assert torch.equal(block.read(), start) and block.holds()
    assert refused


def test_a_candidate_whose_sums_overflow_is_none(tmp_path: Path, monkeypatch: Any) -> None:
    suffix, fitness = Judge.suffix, []

    def told(self: Judge, *arguments: Any) -> float:
        fitness.append(suffix(self, *arguments))
        return fitness[-1]

    monkeypatch.setattr(Judge, "suffix", told)
    found = VARIANTS["overflow"].search(VARIANTS["overflow"].model(tmp_path))
    assert found.after < found.before
    assert 0 < sum(map(math.isinf, fitness)) < len(fitness)


def most_codes(prepared: PreparedModel) -> int:
    """The largest sum of |code| over an output channel."""
    codes = (layer.codes.codes for layer in layer_integers(prepared).values())
    return max(int(np.abs(c.reshape(len(c), -1)).sum(1).max()) for c in codes)


def test_a_candidate_beyond_the_adder_tree_is_none(tmp_path: Path) -> None:
    path, net = tmp_path / "sums.toml", network()

    def model(table: str) -> PreparedModel:
        path.write_text('schema = 1\nname = "sums"\nextends = "int8-npu"\nsummary = "s"\n' + table)
        prepared = deployq.prepare(net, [torch.zeros(2, 6, 8)], str(path))
        return deployq.calibrate(prepared, images(), CalibrationSettings(corrections=()))

    limit = most_codes(model("")) + 2
    prepared = model(f"[weight]\nsum_abs_max = {{ 8 = {limit} }}\n")
    settings = EvolveSettings(**(vars(SMALL) | {"width": 0.3, "searched": "all"}))
    found = deployq.evolve_scales(prepared, images(), settings, teacher=net)
    assert found.after <= found.before and most_codes(prepared) <= limit


def has_multipliers(prepared: PreparedModel) -> bool:
    contract = prepared.profile.contract()
    return all(
        has_multiplier(
            call.unit.weight_quantizer.qparams_scale(),
            contract.form(call.unit.form_name(call.weight)),
            (np.float32(grid_of(prepared.module, call.source).scale),
             np.float32(output_params(output_quantizer(prepared, call.name)).scale)),
        )
        for call in linear_calls(prepared)
    )  # fmt: skip


@pytest.mark.parametrize("shift_min", [6, 7, 8])
def test_multipliers_stay_in_the_range_of_shifts(shift_min: int, tmp_path: Path) -> None:
    table = f"[requant]\nmultiplier_bits = 6\nshift_min = {shift_min}\n"
    variant = Variant({"width": 0.5, "searched": "all", "passes": 4}, table)
    prepared = variant.model(tmp_path)
    assert has_multipliers(prepared)
    variant.search(prepared)
    assert has_multipliers(prepared)


def test_activations_whose_scales_make_a_lattice_are_not_searched(tmp_path: Path) -> None:
    variant = Variant({"activations": True}, "[requant]\nmultiplier_bits = 6\n")
    with pytest.raises(UnsupportedError, match=r"(?s)\.weight: .*activation scales on variant"):
        variant.search(variant.model(tmp_path))
