"""Layers that give codes at once are the layers that sum first."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from dataclasses import replace
from weakref import ref

import numpy as np
import pytest
import torch

from deployq.arithmetic.contract import QDQ, Accumulator, Contract, Form, Kind, Overflow
from deployq.arithmetic.geometry import ConvGeometry
from deployq.arithmetic.kernels import int8
from deployq.arithmetic.requant_words import BiasOrder
from deployq.qgraph.nodes import Linear
from deployq.qparams import PerChannel, QParams
from deployq.qtypes import QType
from deployq.simulator import fused_layers
from deployq.simulator.fused_layers import fused_layer
from deployq.simulator.linear_layers import linear_codes
from tests.arithmetic.cases import S8, U8, Draw

FLOAT32 = Contract("float32", Form(Kind.FLOAT32))
GEOMETRIES = [
    ConvGeometry(),
    ConvGeometry((2, 1), (1, 1, 1, 1)),
    ConvGeometry((1, 2), (1, 2, 1, 0)),
    ConvGeometry((1, 1), (1, 1, 1, 1), groups=16),
    ConvGeometry((2, 2), (0, 0, 1, 1), groups=16),
]
has_int8 = pytest.mark.skipif(not int8._is_exact(), reason="no exact integer convolution here")


def layer(draw: Draw, geometry: ConvGeometry, bounds: tuple[int, int] | None) -> Linear:
    weight = draw.codes(S8, 16, 16 // geometry.groups, 3, 3)
    scale = draw.rng.uniform(0.5, 2, 16) * (0.02 if geometry.groups == 1 else 0.1)
    return Linear(
        name="layer", op_type="Conv", inputs=("x",), output="y", weight=weight,
        weight_qparams=QParams(S8, scale.astype(np.float32), granularity=PerChannel(0)),
        bias=draw.rng.integers(-3000, 3000, 16), geometry=geometry, bounds=bounds,
    )  # fmt: skip


Made = tuple[Linear, torch.Tensor, QParams, QParams]


def made(
    seed: int, geometry: ConvGeometry, xt: QType = U8, bounds: tuple[int, int] | None = None
) -> Made:
    draw = Draw(seed)
    node = layer(draw, geometry, bounds)
    x = torch.from_numpy(draw.codes(xt, 2, 16, 9, 8))
    qx = QParams(xt, np.asarray(0.05, np.float32), draw.codes(xt))
    return node, x, qx, QParams(U8, np.asarray(0.3, np.float32), draw.codes(U8))


@pytest.fixture(autouse=True, scope="module")
def small_layers_pay() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fused_layers, "WORTH", 1)
        patch.setattr(fused_layers, "RARE", 2)
        yield


@has_int8
@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("xt", [U8, S8], ids=str)
def test_fused_codes_are_the_codes(geometry: ConvGeometry, xt: QType) -> None:
    parts = []
    for seed in range(12):
        node, x, qx, out = made(seed, geometry, xt, (3, 200) if seed % 2 else None)
        fused = fused_layer(node, x, qx, out, FLOAT32)
        if fused is not None:
            expected = linear_codes(node, x, qx, out, FLOAT32)
            assert torch.equal(fused.codes(x, qx, out, FLOAT32), expected)
            parts.append(fused.rest is not None)
    assert {False, True} <= set(parts)  # with and without channels that are summed


@has_int8
def test_what_it_is_not_for_is_left_to_sums() -> None:
    node, x, qx, out = next(m for m in (made(s, GEOMETRIES[0]) for s in range(9)) if _fuses(*m))
    assert fused_layer(node, x, qx, out, FLOAT32) is fused_layer(node, x, qx, out, FLOAT32)
    narrow = replace(FLOAT32, accumulator=Accumulator(20, Overflow.WRAP))
    fixed = Contract("fixed", Form(Kind.FIXED))
    late = replace(FLOAT32, bias_order=BiasOrder.AFTER_SCALE)
    for contract in (QDQ, narrow, fixed, late):
        assert fused_layer(node, x, qx, out, contract) is None
    for q in (QParams(S8, out.scale), QParams(QType(16, False), out.scale)):
        assert fused_layer(node, x, qx, q, FLOAT32) is None
    assert fused_layer(node, x.int(), qx, out, FLOAT32) is None
    large = replace(node, bias=np.full(16, 2**24))
    assert fused_layer(large, x, qx, out, FLOAT32) is None


def _fuses(node: Linear, x: torch.Tensor, qx: QParams, out: QParams) -> bool:
    return fused_layer(node, x, qx, out, FLOAT32) is not None


@has_int8
def test_a_layer_goes_when_its_node_goes() -> None:
    made_ones = [made(seed, GEOMETRIES[3]) for seed in range(3)]
    assert any([_fuses(*one) for one in made_ones])
    nodes = [ref(one[0]) for one in made_ones]
    known = [id(one[0]) for one in made_ones]
    assert all(key in fused_layers._FOUND for key in known)
    del made_ones
    gc.collect()
    assert not any(node() for node in nodes)
    assert not any(key in fused_layers._FOUND for key in known)
