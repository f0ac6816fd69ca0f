"""Near ties: settings, found by search, where another order of float32 steps moves many codes.

Each multiplier is a ratio of small integers that float32 does not hold, so its last bit decides.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from deployq.arithmetic.oracle import elementwise, linear, pooling
from deployq.arithmetic.oracle.requantize import requantize
from deployq.qparams import QParams
from tests.arithmetic.cases import EXACT, FLOAT32, U8, Draw
from tests.arithmetic.ort_models import VARIANTS, assert_same, run_binary, run_unary

EVERY_CODE = np.arange(256).astype(np.uint8)


@pytest.mark.parametrize(
    ("seed", "s_b", "s_y"), [(4, 1 / 3, 2), (5, 1 / 5, 6 / 5), (3, 5 / 7, 12 / 7)]
)
def test_the_constant_of_add_is_fused(seed: int, s_b: float, s_y: float, tmp_path: Path) -> None:
    # found by search: with three roundings instead of two in the constant, thousands of codes move
    draw = Draw(seed)
    qa = draw.params(U8)
    qb, out = (draw.params(U8, float(qa.scale) * ratio) for ratio in (s_b, s_y))
    a, b = EVERY_CODE.reshape(1, 1, 256, 1), EVERY_CODE.reshape(1, 1, 1, 256)
    found = run_binary("Add", [(a, qa), (b, qb)], out, tmp_path, VARIANTS["u8"])
    np.testing.assert_array_equal(found, elementwise.add(a, qa, b, qb, out, FLOAT32))


@pytest.mark.parametrize(("seed", "ratio"), [(5, 32), (26, 96), (0, 160), (8, 224)])
def test_the_multiplier_has_two_roundings(seed: int, ratio: float, tmp_path: Path) -> None:
    # float32(float32(s_a s_b) / s_y), not the nearest float32
    draw = Draw(seed)
    qa, qb = draw.params(U8), draw.params(U8)
    out = draw.params(U8, float(qa.scale * qb.scale) * ratio)
    a, b = EVERY_CODE.reshape(256, 1), EVERY_CODE.reshape(1, 256)
    found = run_binary("MatMul", [(a, qa), (b, qb)], out, tmp_path, VARIANTS["u8"])
    acc = linear.matmul_accumulate(a, int(qa.zero_point), b, int(qb.zero_point))
    assert_same(found, requantize(acc, qa.scale, qb.scale, out, FLOAT32))


@pytest.mark.parametrize(
    ("seed", "size", "gain"), [(25, 7, 2), (36, 7, 2), (2, 6, 6), (9, 5, 10), (3, 7, 6)]
)
def test_the_mean_divides_by_scale_times_count(
    seed: int, size: int, gain: int, tmp_path: Path
) -> None:
    draw = Draw(seed)
    scale, zero_point = draw.scale(), 120 + draw.rng.integers(16)
    qx = QParams(U8, scale, np.asarray(zero_point))
    out = QParams(U8, np.asarray(scale * gain / size**2, np.float32), np.asarray(128))
    x = draw.codes(U8, 8, 400, size, size)
    found = run_unary("GlobalAveragePool", x, qx, out, tmp_path, VARIANTS["u8"])
    assert_same(found, pooling.global_average_pool(x, qx, out, FLOAT32))


def test_the_add_formula_is_not_the_exact_one(tmp_path: Path) -> None:
    # guards the tests above: where forms differ they must be able to see it
    qx = QParams(U8, np.asarray(1 / 32, np.float32), np.asarray(7))
    out, draw = QParams(U8, np.asarray(1 / 16, np.float32), np.asarray(9)), Draw(0)
    a, b = draw.codes(U8, 1, 8, 20, 20), draw.codes(U8, 1, 8, 20, 20)
    found = run_binary("Add", [(a, qx), (b, qx)], out, tmp_path, VARIANTS["u8"])
    np.testing.assert_array_equal(found, elementwise.add(a, qx, b, qx, out, FLOAT32))
    assert np.mean(found != elementwise.add(a, qx, b, qx, out, EXACT)) > 0.1
