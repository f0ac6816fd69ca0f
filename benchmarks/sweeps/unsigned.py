"""Sweeps over unsigned codes: the same reals, codes and zero points 128 higher."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain, product

import numpy as np
import numpy.typing as npt

from benchmarks.sweeps.biases import crowded
from benchmarks.sweeps.elementwise import RATIOS, pairs
from benchmarks.sweeps.layers import every_sum, rows, windows
from benchmarks.sweeps.pools import means, means_by_2, pools
from benchmarks.sweeps.products import products
from benchmarks.sweeps.sweep import EVERY_CODE, UNITS, ZERO_POINTS, Sweep, grid, of
from deployq.arithmetic.oracle.lookup import UnaryParams
from deployq.qgraph.nodes import Concat, Elementwise, IntegerGraph, Lookup, Softmax
from deployq.qparams import QParams
from deployq.qtypes import QType

Array = npt.NDArray[np.int64]
U8, OFFSET = QType(8, signed=False), 128
BYTES = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)
DIFFERENCES = np.arange(-255, 256)


def unsigned_sweeps() -> Iterator[Sweep]:
    """Operator by operator; HTP takes a clamp only where the output's range makes it idle."""
    signed = (
        every_sum("CONV_2D"), windows("CONV_2D"), windows("DEPTHWISE_CONV_2D"), rows(), products(),
        pairs("ADD"), pairs("MUL"), joined(), means(), means_by_2(),
        pools("AVERAGE_POOL_2D"), pools("MAX_POOL_2D"),
    )  # fmt: skip
    every = chain.from_iterable(signed)
    yield from (unsigned(sweep) for sweep in every if sweep.graph.nodes[0].bounds is None)
    yield from crowded()
    yield from shares_of_two()
    yield from tables()
    yield from hard_gates()
    yield from slopes()
    yield from gated()


def shares_of_two(seed: int = 0) -> Iterator[Sweep]:
    """A Softmax over every difference of two codes."""
    rng = np.random.default_rng(seed)
    node = Softmax(name="SOFTMAX", op_type="Softmax", inputs=("x",), output="y")
    first, second = np.maximum(0, DIFFERENCES), np.maximum(0, -DIFFERENCES)
    x = np.stack([first, second], -1).astype(np.uint8)[None]
    for scale in (1 / 64, 1 / 16, *rng.uniform(0.002, 0.3, 10), 2.0):
        qparams = {"x": grid(scale, int(rng.integers(0, 256)), U8), "y": grid(1 / 256, 0, U8)}
        yield of(node, qparams, x=x)


def tables(seed: int = 0) -> Iterator[Sweep]:
    """Every code through a Sigmoid and a Tanh, some on grids on which the limits are ties."""
    rng = np.random.default_rng(seed)
    for operator in ("Sigmoid", "Tanh"):
        for scale in (1 / 256, 1 / 128, 2 / 255, 2 / 3, *rng.uniform(0.002, 0.02, 16)):
            (x_scale,), zeros = np.exp(rng.uniform(-7, 0, 1)), rng.integers(0, 256, 2)
            yield table(operator, (x_scale, scale), zeros)


def hard_gates(seed: int = 0) -> Iterator[Sweep]:
    """Every code through a HardSigmoid; lines of which some have ties on the output's grid."""
    rng = np.random.default_rng(seed)
    ties = product((1 / 4, 1 / 8, 1 / 2, 1 / 6, 1 / 5), (1 / 64, 1 / 16), (1 / 256, 1 / 64))
    drawn = rng.uniform((0.05, 0.01, 0.003), (0.4, 0.1, 0.01), (20, 3))
    for alpha, *scales in (*ties, *drawn):
        line = UnaryParams(alpha=float(np.float32(alpha)), beta=0.5)
        yield table("HardSigmoid", scales, rng.integers(0, 256, 2), line)


def slopes(seed: int = 0) -> Iterator[Sweep]:
    """Every code through functions without an upper limit; at some ratios half of it is a tie."""
    rng = np.random.default_rng(seed)
    bent = [UnaryParams(alpha=alpha) for alpha in (1.0, 0.5, 0.25, 1.75)]
    cases = [(name, params) for name in ("Elu", "LeakyRelu") for params in bent]
    cases += [("HardSwish", UnaryParams()), ("Gelu", UnaryParams())]
    for operator, params in cases:
        for ratio in (1, 2, 1 / 2, 4, 2 / 3, *rng.uniform(0.3, 4, 15)):
            x_scale = 2.0 ** -rng.integers(3, 7) * (1 if ratio in (1, 2, 4) else rng.uniform(1, 2))
            yield table(operator, (x_scale, x_scale * ratio), rng.integers(0, 256, 2), params)


def table(
    operator: str, scales: Sequence[float], zeros: Array, params: UnaryParams | None = None
) -> Sweep:
    """Every code through a function.

    Args:
        scales, zeros: of input and output.
    """
    node = Lookup(
        name=operator, op_type=operator, inputs=("x",), output="y", params=params or UnaryParams()
    )
    (x_scale, scale), (zero_x, zero_y) = scales, zeros
    grids = {"x": grid(x_scale, int(zero_x), U8), "y": grid(scale, int(zero_y), U8)}
    return of(node, grids, x=BYTES)


def gated(seed: int = 0) -> Iterator[Sweep]:
    """Every code times its own Sigmoid, whose grid is any; large ones are ties for some ratios."""
    rng = np.random.default_rng(seed)
    sigmoid = Lookup(name="GATE", op_type="Sigmoid", inputs=("x",), output="s")
    mul = Elementwise(name="MUL", op_type="Mul", inputs=("x", "s"), output="y")
    for ratio in (2, 2 / 3, 4, 2 / 5, 1, *rng.uniform(0.3, 1.5, 35)):
        x, (zero_x, zero_s, zero_y) = np.exp(rng.uniform(-6, 0)), rng.integers(0, 256, 3)
        gate = grid(rng.uniform(0.003, 0.01), zero_s, U8) if zero_y % 2 else grid(1 / 256, 0, U8)
        grids = {"x": grid(x, zero_x, U8), "s": gate, "y": grid(x * ratio, zero_y, U8)}
        yield Sweep(IntegerGraph((sigmoid, mul), grids, ("x",), ("y",)), {"x": BYTES})


def unsigned(sweep: Sweep) -> Sweep:
    """The same sweep, without a clamp, over u8."""
    qparams = {
        name: QParams(U8, q.scale, q.zero_point + OFFSET) for name, q in sweep.graph.qparams.items()
    }
    graph = replace(sweep.graph, qparams=qparams)
    codes = {n: (c.astype(np.int64) + OFFSET).astype(np.uint8) for n, c in sweep.inputs.items()}
    return Sweep(graph, codes)


def joined(seed: int = 0) -> Iterator[Sweep]:
    """Every code of two tensors, joined under a third grid."""
    rng = np.random.default_rng(seed)
    node = Concat(name="CONCAT", op_type="Concat", inputs=("a", "b"), output="y", axis=1)
    codes = EVERY_CODE.reshape(1, 1, 16, 16)
    for ratio, unit in product((*RATIOS, *rng.uniform(1, 5, (8, 3))), UNITS):
        for zero_a, zero_y in ZERO_POINTS:
            zeros = (zero_a, int(rng.integers(-128, 128)), zero_y)
            scales = np.asarray(ratio) * unit
            grids = {n: grid(s, z) for n, s, z in zip("aby", scales, zeros, strict=True)}
            yield of(node, grids, a=codes, b=codes)
