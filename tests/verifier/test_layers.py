"""SQNR and ranges against plain numpy on networks that one can compute by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict

import numpy as np
import pytest
import torch

from deployq.data import Dataset
from deployq.graph.preparation import PreparedModel, disable_quantizers
from deployq.qparams import PerChannel, QParams
from deployq.qtypes import QType
from deployq.verifier.layers import SAMPLES, measure_layers
from deployq.verifier.ranges import BINS, activation_range, weight_range
from deployq.verifier.sqnr import sqnr_db
from deployq.verifier.tally import MOST_LSB, Tally


def test_sqnr_is_ten_log_of_the_power_ratio() -> None:
    x = torch.tensor([3.0, 4.0])
    assert sqnr_db(x, torch.tensor([3.0, 4.5])) == pytest.approx(20.0)  # 25 / 0.25
    assert sqnr_db(x, x) is None and sqnr_db(x * 0, x) is None
    assert sqnr_db(x * torch.inf, x) is None


def test_layers_of_a_network(make_prepared: Callable[..., PreparedModel], unseen: Dataset) -> None:
    prepared = make_prepared("int4-npu", corrections=())
    found = measure_layers(prepared, unseen)
    tensors = [name for grid in prepared.plan.tensors for name in grid.tensors]
    assert [row.tensor for row in found.sqnr] == tensors and found.samples == SAMPLES
    layers = {layer.name for layer in prepared.plan.layers}
    assert {row.tensor for row in found.sqnr if row.weight_db is not None} == layers
    kinds = [entry.kind for entry in found.ranges]
    assert kinds == ["activation"] * len(tensors) + ["weight"] * len(layers)
    assert all(quantizer.enabled for quantizer in prepared.quantizers().values())
    json.dumps(asdict(found), allow_nan=False)


def test_end_to_end_is_the_modules_own_output_with_quantizers_on_and_off(
    make_prepared: Callable[..., PreparedModel], unseen: Dataset
) -> None:
    prepared = make_prepared("int4-npu", corrections=())
    x = torch.from_numpy(unseen.inputs["x"][:SAMPLES].copy())
    with torch.no_grad():
        quantized = prepared.module(x)
        disable_quantizers(prepared.module)
        real = prepared.module(x)
        disable_quantizers(prepared.module, False)
    head = measure_layers(prepared, unseen).sqnr[-1]
    signal, noise = (float(t.double().square().sum()) for t in (real, real - quantized))
    expected = 10 * np.log10(signal / noise)
    assert head.whole_db == pytest.approx(expected, abs=1e-6)  # one sum in two orders
    assert head.fed_db is not None and head.fed_db > head.whole_db


def test_the_input_loses_only_its_own_rounding(
    make_prepared: Callable[..., PreparedModel], unseen: Dataset
) -> None:
    prepared = make_prepared("int4-npu", corrections=())
    first = measure_layers(prepared, unseen).sqnr[0]
    assert first.tensor == "x" and first.fed_db == first.whole_db and first.weight_db is None


def test_finer_weights_lose_less(
    make_prepared: Callable[..., PreparedModel], unseen: Dataset
) -> None:
    coarse, fine = (
        measure_layers(make_prepared(t, corrections=()), unseen) for t in ("int4-npu", "int8-npu")
    )
    pairs = [(a, b) for a, b in zip(coarse.sqnr, fine.sqnr, strict=True) if a.weight_db]
    assert pairs and all(a.weight_db < b.weight_db for a, b in pairs if a.weight_db and b.weight_db)


def test_an_activations_range_its_grid_and_what_is_outside() -> None:
    values = torch.tensor([-1.0, 0.0, 0.5, 2.0])
    grid = QParams(QType(4, False), np.float32(0.125), np.int64(2))
    found = activation_range("t", values, grid)
    assert (found.low, found.high, found.grid) == (-1.0, 2.0, (-0.25, 1.625))
    assert found.outside == 0.5 and sum(found.counts) == 4 and len(found.counts) == BINS
    assert (found.qtype, found.codes, found.zero_point) == ("u4", (0, 15), 2)


def test_weights_are_in_steps_of_their_own_channel() -> None:
    weight = torch.tensor([[1.0, -7.0], [10.0, 80.0]])
    grid = QParams(QType(4, True, True), np.array([1, 10], np.float32), 0, PerChannel(0))
    found = weight_range("t", weight, grid)
    assert (found.low, found.high, found.grid, found.scale) == (-7.0, 8.0, (-7, 7), (1, 10))
    assert found.outside == 0.25


def test_constant_and_infinite_values_have_ranges() -> None:
    grid = QParams(QType(8, False), np.float32(1))
    assert activation_range("t", torch.zeros(5), grid).counts[0] == 5
    found = activation_range("t", torch.tensor([1.0, torch.inf, torch.nan]), grid)
    assert (found.low, found.high, sum(found.counts)) == (1.0, 1.0, 1)


def test_differences_are_counted_by_size() -> None:
    tally = Tally("conv", 8)
    tally.add(np.array([1, 2, 3, 100]), np.array([1, 3, 2, 0]))
    tally.add(np.array([5]), np.array([7]))
    assert tally.row().by_lsb == ((1, 2), (2, 1), (MOST_LSB, 1))
