"""Constants with which a multiply and an add in float32 give the codes of a requantization.

    float32(acc + b) * M rounded, + z   =   float32(acc) * m + a + z rounded     for every sum acc

The left side is a contract's (kind float32). The right one is what integer convolutions can do on
their way out, without another pass over memory. Both never fall as acc grows, so they are equal
everywhere when they are equal on both sides of every code's first sum. Almost all of these lie
farther from the step than float32 errs; m and a are moved by a few units in the last place until
the others agree as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt

from deployq.arithmetic.codes import scale_and_zero
from deployq.arithmetic.float32 import Float32Array, fma
from deployq.arithmetic.rounding import Float64Array, Int64Array
from deployq.qparams import QParams

MOVES = sorted(
    product(range(-2, 3), range(-4, 5)), key=lambda move: (2 * abs(move[0]) + abs(move[1]), move)
)
"""Units in the last place by which multiplier and addend are moved, small moves first."""

UNIT = 2.0**-24
"""The largest relative error of a float32 operation."""

SMALLEST_ADDEND = 64.0
"""The addend is moved as one of this size at least."""


@dataclass(frozen=True, eq=False)
class FusedStep:
    """What replaces multiplier and bias.

    Args:
        multiplier, addend: float32 (C,).
        holds: (C,) whether the two sides are equal for every sum in reach.
    """

    multiplier: Float32Array
    addend: Float32Array
    holds: npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class _Near:
    """Sums next to a step of the left side, and the codes there.

    Args:
        channel, acc, code: (K,), the second one without the bias.
    """

    channel: Int64Array
    acc: Float32Array
    code: Float32Array

    def of(self, channels: npt.NDArray[np.bool_]) -> _Near:
        kept = channels[self.channel]
        return _Near(self.channel[kept], self.acc[kept], self.code[kept])


def fused_step(
    multiplier: Float32Array, bias: Int64Array, reach: tuple[Int64Array, Int64Array], out: QParams
) -> FusedStep:
    """The constants of a layer.

    Args:
        multiplier: M, (C,), positive.
        bias: b, (C,).
        reach: the least and the largest sum without the bias, (C,) each; with it below 2**24.
        out: z and the width of the codes, 8 bits at most.
    """
    zero_point = np.float32(scale_and_zero(out, "output")[1])
    near, apart = _near_steps(multiplier, bias, reach, out)
    addend = (bias * multiplier.astype(np.float64)).astype(np.float32)
    found = FusedStep(multiplier.copy(), addend.copy(), np.zeros(len(bias), np.bool_))
    for moves in MOVES:
        m, a = _moved(multiplier, addend, moves)
        wrong = np.zeros(len(bias), np.bool_)
        for values in _right_sides(near, m, a):
            wrong[near.channel[np.rint(values + zero_point) != near.code]] = True
        better = apart & ~wrong & ~found.holds
        found.multiplier[better], found.addend[better] = m[better], a[better]
        found.holds[better] = True
        near = near.of(~found.holds)
        if found.holds[apart].all():
            break
    return found


def _near_steps(
    multiplier: Float32Array, bias: Int64Array, reach: tuple[Int64Array, Int64Array], out: QParams
) -> tuple[_Near, npt.NDArray[np.bool_]]:
    """Sums that are too near to a step, and the channels with no more than two at a step."""
    zero_point = scale_and_zero(out, "output")[1]
    first, last = out.qtype.qmin + 1, out.qtype.qmax + 1
    steps = np.asarray(np.arange(first, last) - zero_point - 0.5, np.float64)
    m, b = multiplier.astype(np.float64)[:, None], bias.astype(np.float64)[:, None]
    above = np.ceil(steps / m - b)
    acc = np.stack([above - 1, above], -1)
    error = _error(steps, b * m)
    low, high = (limit[:, None, None] for limit in reach)
    distance = np.abs((acc + b[..., None]) * m[..., None] - steps[:, None])
    near = (distance < error[..., None]) & (acc >= low) & (acc <= high)
    channel, sums = np.nonzero(near)[0], acc[near]
    codes = np.rint((sums + bias[channel]).astype(np.float32) * multiplier[channel]) + zero_point
    apart = np.asarray((error < m).all(1))  # the sums beyond those two are farther than m
    return _Near(channel, sums.astype(np.float32), codes.astype(np.float32)), apart


def _error(steps: Float64Array, addend: Float64Array) -> Float64Array:
    """What both sides together may err next to a step, moves included.

    Where the result is k, the product is k - a. The left side rounds k once. The right one rounds
    a (once more where it was moved), k - a, k and k + z, and moves k - a by 2 and a by 4 units in
    the last place, of 2 UNIT each.
    """
    most = np.maximum(np.abs(addend), SMALLEST_ADDEND)
    near, product = np.abs(steps), np.abs(steps) + most
    rounded = near + 2 * most + product + near + (near + 256)
    return np.asarray(UNIT * (rounded + 4 * product + 8 * most))


def _moved(
    m: Float32Array, a: Float32Array, moves: tuple[int, int]
) -> tuple[Float32Array, Float32Array]:
    unit = np.spacing(np.maximum(np.abs(a), np.float32(SMALLEST_ADDEND)))
    by = np.array(moves, np.float32)
    return np.asarray(m + by[0] * np.spacing(m)), np.asarray(a + by[1] * unit)


def _right_sides(near: _Near, m: Float32Array, a: Float32Array) -> Iterator[Float32Array]:
    """With one rounding and with two: which of them a processor takes is its own affair."""
    yield near.acc * m[near.channel] + a[near.channel]
    yield fma(near.acc, m[near.channel], a[near.channel])
