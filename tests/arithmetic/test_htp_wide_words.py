"""HTP's arithmetic over 16-bit activations in Python integers, against oracle and kernels."""

from __future__ import annotations

import math

import numpy as np
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from deployq.arithmetic.contract import Contract
from deployq.arithmetic.kernels import elementwise as fast_elementwise
from deployq.arithmetic.kernels import requantize as fast_requantize
from deployq.arithmetic.oracle import elementwise, requantize
from deployq.qparams import QParams
from deployq.qtypes import QType
from deployq_targets import load_profile

F32, U16, CUT = np.float32, QType(16, signed=False), 8
seeds = st.integers(0, 2**32 - 1)


def contract() -> Contract:
    return load_profile("qnn-htp").contract().for_codes(16)


def params(scale: float, zero_point: int) -> QParams:
    return QParams(U16, np.asarray(scale, np.float32), np.asarray(zero_point))


def word(value: int) -> int:
    return max(0, min(65535, value))


@settings(max_examples=40, deadline=None)
@given(seeds)
def test_a_sum_of_raw_codes_loses_its_lowest_bits_first(seed: int) -> None:
    rng, form = np.random.default_rng(seed), contract().form("Conv")
    x, weight = rng.integers(0, 65536, (40, 6)), rng.integers(-127, 128, (6, 5))
    bias, zx, zy = (
        rng.integers(0, 10 ** rng.integers(5, 10), 5),
        *map(int, rng.integers(0, 65536, 2)),
    )
    sx, sw, sy = F32(2**-16), F32(rng.uniform(0.001, 0.01, 5)), F32(2**-16)
    out, removed = params(sy, zy), zx * weight.sum(0)
    raw, step = x @ weight, sx * sw.max()
    acc = raw - removed + bias
    found = requantize.requantize(
        acc, sx, sw, out, form, channel_axis=-1, bias=bias, removed=removed
    )
    unit = np.abs(bias.astype(F32) * step).max() / F32(1 << 28)
    for row, codes in zip(raw, found, strict=True):
        for c, code in enumerate(codes):
            real = step / sy * (sw[c] / sw.max())
            exponent = math.frexp(float(real))[1]
            mantissa = math.floor(float(real) * 2.0 ** (11 - exponent) + 0.5)
            steps = np.rint(F32(bias[c]) * step * (F32(1) / unit)) * unit / step
            joined = int(steps + F32(zy) / real + F32(0.5)) >> CUT
            kept = (int(row[c]) >> CUT) - ((int(removed[c]) + 128) >> CUT) + joined
            shift = 11 - exponent - CUT
            assert code == word((kept * mantissa + (1 << shift >> 1)) >> shift)
    fast = fast_requantize.requantize(
        torch.tensor(acc), sx, sw, out, form, channel_axis=-1, bias=bias, removed=removed
    )
    np.testing.assert_array_equal(fast.numpy().astype(np.int64), found.astype(np.int64))


@settings(max_examples=40, deadline=None)
@given(seeds)
@example(3305)  # a mantissa that is a tie
def test_a_sum_of_two_tensors_shifts_by_16_at_most(seed: int) -> None:
    rng, form = np.random.default_rng(seed), contract().form("Add")
    sa, sb, sy = (F32(s) for s in np.exp2(rng.uniform([-16, -18, -17], [-13, -13, -12])))
    za, zb, zy = map(int, rng.integers(0, 65536, 3))
    a, b = rng.integers(0, 65536, (2, 60)).astype(np.uint16)
    ra, rb = float(sa * (F32(1) / sy)), float(sb * (F32(1) / sy))
    shift = min(15 - math.frexp(max(ra, rb))[1], 16)
    ma, mb = round(ra * 2.0**shift), round(rb * 2.0**shift)
    operands = params(sa, za), params(sb, zb), params(sy, zy)
    found = elementwise.add(a, operands[0], b, operands[1], operands[2], form)
    wanted = [
        word((((int(i) - za) * ma + (int(j) - zb) * mb + (1 << shift >> 1)) >> shift) + zy)
        for i, j in zip(a, b, strict=True)
    ]
    assert found.tolist() == wanted
    tensors = [torch.tensor(codes.astype(np.int32)) for codes in (a, b)]
    fast = fast_elementwise.add(tensors[0], operands[0], tensors[1], operands[1], operands[2], form)
    assert fast.tolist() == wanted
