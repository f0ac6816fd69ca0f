"""Networks of one operator whose codes tell the words of a contract apart."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from deployq.arithmetic.geometry import PoolGeometry
from deployq.arithmetic.row_norms import RowNorm
from deployq.qgraph import IntegerGraph
from deployq.qgraph.nodes import (
    Concat,
    Elementwise,
    Linear,
    Lookup,
    Node,
    Pool,
    RowNormalization,
    Softmax,
)
from deployq.qparams import IntArray, PerChannel, PerTensor, QParams
from deployq.qtypes import QType
from tests.arithmetic.cases import S8, S32, U8

U16 = QType(16, False)
RNG = np.random.default_rng(0)
ALL = np.arange(256).reshape(-1, 1)


@dataclass(frozen=True, eq=False)
class Net:
    """A graph of one node, which writes ``y``, and what it reads."""

    graph: IntegerGraph
    inputs: dict[str, IntArray]


def params(qtype: QType, scale: float = 1.0, zero_point: int = 0) -> QParams:
    return QParams(qtype, np.asarray(scale, np.float32), np.asarray(zero_point))


def net(node: Node, out: QParams, *operands: tuple[IntArray, QParams]) -> Net:
    """A node over operands a, b and so on."""
    names = tuple("abc"[: len(operands)])
    qparams = {name: q for name, (_, q) in zip(names, operands, strict=True)}
    graph = IntegerGraph((replace(node, inputs=names),), {**qparams, "y": out}, names, ("y",))
    codes = {n: x.astype(q.qtype.dtype) for n, (x, q) in zip(names, operands, strict=True)}
    return Net(graph, codes)


def joined(
    first: Node, own: QParams, last: Node, out: QParams, *operands: tuple[IntArray, QParams]
) -> Net:
    """A node over the operands, and one that reads it twice and writes ``y``."""
    made = net(first, own, *operands)
    qparams = {**made.graph.qparams, first.output: own, "y": out}
    nodes = (made.graph.nodes[0], replace(last, inputs=(first.output,) * 2))
    return Net(IntegerGraph(nodes, qparams, made.graph.inputs, ("y",)), made.inputs)


def gated(x: QParams, gate: QParams, out: QParams) -> Net:
    """Every code times its own Sigmoid."""
    sigmoid = Lookup(name="gate", op_type="Sigmoid", inputs=("x",), output="s")
    product = Elementwise(name="node", op_type="Mul", inputs=("x", "s"), output="y")
    graph = IntegerGraph((sigmoid, product), {"x": x, "s": gate, "y": out}, ("x",), ("y",))
    return Net(graph, {"x": ALL.astype(x.qtype.dtype)})


def named(op_type: str) -> Any:
    return {"name": "node", "op_type": op_type, "inputs": (), "output": "y"}


def sums(wanted: Any, scales: Any, out: QParams, x_scale: float = 1.0) -> Net:
    """A Gemm whose finished sums are ``wanted``, (C,): inputs of 1, and biases."""
    scale, wanted = np.asarray(scales, np.float32), np.asarray(wanted)
    granularity = PerChannel(1) if scale.ndim else PerTensor()
    held = QParams(S8, scale, np.zeros(scale.shape, np.int64), granularity)
    weight = np.zeros((1, wanted.size), np.int64)
    node = Linear(**named("Gemm"), weight=weight, weight_qparams=held, bias=wanted)
    return net(node, out, (np.ones((1, 1)), params(S8, x_scale)))


TIED = sums(np.arange(-24, 25), 0.5, params(S8))
"""Every second sum is half way between two codes."""

TIED_DEEP = sums(np.arange(-999, 1000), 2.0**-5, params(S8))
"""Every 32nd sum is half way between two codes."""

SHARES = sums(np.arange(-2000, 2001), 0.1, params(S8, 1.73, 3))
"""Sums of hardly any tie."""

SLIGHT = sums(np.arange(10_000), 0.0127, params(S8, 1, -128))
"""Codes close to half way: steps of a code have 79 sums."""

HUGE = 1 << 28
WIDE = sums(HUGE + 7919 * np.arange(4), [0.3, 0.7, 0.13, 0.011], params(S32, 0.77, 5), 0.9)
"""Codes of 30 bits show every digit of a multiplier."""

WIDE_OF_ONE = sums(HUGE + 7919 * np.arange(4), 0.3, params(S32, 0.77, 5), 0.9)

NEARLY_ONE = sums((1 << 20) + np.arange(4), 1 - 2.0**-17, params(S32))
"""A multiplier that 15 bits round to one."""

LONG = sums([(1 << 24) + (1 << 17) + 1], 2.0**-18, params(S8))
"""64 and a half, and one more that float32 does not hold."""

DEEP = sums([3000, -3000], 2.0**-6, params(S8))
"""Sums of 13 bits."""

FAINT = sums([1 << 30, 5], [5e-8, 1.0], params(S8))
"""A multiplier below 2**-24."""

HALVES = sums(np.arange(-400, 0), 1.0, params(S32, 0.5, 61))
"""The zero point is worth 30 steps and a half, which less any of these sums are negative."""

MIXED = sums(np.full(4, 999), [0.5, 0.031, 0.0171, 0.00093], params(S32, 1e-5))
"""Channels of very different scales."""

_A, _B = (x.reshape(-1) for x in np.meshgrid(np.arange(256), np.arange(256)))
BYTES = (_A, params(U8, 0.013, 7)), (_B, params(U8, 0.031, 131))
ADD = net(Elementwise(**named("Add")), params(U8, 0.047, 90), *BYTES)
MUL = net(Elementwise(**named("Mul")), params(U8, 0.0147, 91), *BYTES)
TIED_MUL = net(Elementwise(**named("Mul")), params(U8, 0.5, 91), *(
    (codes, replace(q, scale=np.asarray(0.125, np.float32))) for codes, q in BYTES))  # fmt: skip
SIGNED_ADD = net(Elementwise(**named("Add")), params(S8, 0.047, -38), *(
    (codes - 128, params(S8, float(q.scale), int(q.zero_point) - 128)) for codes, q in BYTES
))  # fmt: skip
CONCAT = net(Concat(**named("Concat"), axis=0), params(U8, 0.0211, 9), *(
    (ALL, q) for _, q in BYTES))  # fmt: skip
JOINED_SUM = joined(
    Elementwise(name="sum", op_type="Add", inputs=("a", "b"), output="s"), params(U8, 0.0172, 100),
    CONCAT.graph.nodes[0], params(U8, 0.0211, 9), *((ALL, q) for _, q in BYTES),
)  # fmt: skip

MAPS = RNG.integers(0, 256, (64, 8, 3, 3)), params(U8, 0.021, 130)
WINDOW = PoolGeometry((2, 2), (1, 1), (0, 0, 0, 0))
MEAN = net(Pool(**named("GlobalAveragePool")), params(U8, 0.0173, 101), MAPS)
WIDE_MEAN = net(Pool(**named("GlobalAveragePool")), params(S32, 3.1e-8), MAPS)
EVEN = MAPS[0][:, :, :2, :2], MAPS[1]
KEPT_MEAN = net(Pool(**named("GlobalAveragePool")), MAPS[1], EVEN)
SIGNED_WINDOWS = net(Pool(**named("AveragePool"), geometry=WINDOW), params(S8, 0.042, 1),
                     (MAPS[0] - 128, params(S8, 0.021, 3)))  # fmt: skip
GATED = gated(params(U8, 0.03, 128), params(U8, 1 / 256), params(U8, 0.0171, 17))
TIED_TABLE = net(Lookup(**named("Tanh")), params(U8, 2.0, 127), (ALL, params(U8, 0.2, 128)))
"""Far from zero a tanh is 1, which is half way between two codes."""
TIED_GELU = net(Lookup(**named("Gelu")), params(U8, 1.0, 3), (ALL, params(U8, 0.5, 7)))
"""Far above zero it is the identity: every other code is half way."""
TABLE = net(Lookup(**named("Sigmoid")), params(S32, 2.0**-30), (ALL, params(U8, 0.03, 128)))
SLOPED = net(Lookup(**named("LeakyRelu")), params(S8, 0.031, 5), (ALL - 128, params(S8, 0.02, -9)))
NORMED = net(
    RowNormalization(
        **named("LayerNormalization"),
        norm=RowNorm(
            "LayerNormalization", RNG.normal(size=7).astype("f4"), RNG.normal(size=7).astype("f4")
        ),
    ),
    params(U8, 0.0171, 117),
    (RNG.integers(0, 256, (200, 7)), params(U8, 0.04, 3)),
)
ROWS_OF_TWO = net(Softmax(**named("Softmax")), params(U8, 1 / 256),
                  (RNG.integers(0, 256, (200, 2)), params(U8, 0.04, 3)))  # fmt: skip
ROWS = net(Softmax(**named("Softmax")), params(U8, 1 / 255.7),
           (RNG.integers(0, 256, (200, 7)), params(U8, 0.04, 3)))  # fmt: skip
SHARED_ROWS = net(Softmax(**named("Softmax")), params(U8, 1 / 256),
                  (RNG.integers(100, 140, (6000, 10)), params(U8, 0.0173, 3)))  # fmt: skip
"""Onto LiteRT's grid; a few of these shares are next to a tie."""

EVEN_ROW = net(Softmax(**named("Softmax")), params(U8, 1 / 256), (np.full((1, 512), 9), params(U8)))
"""Shares of half a code."""
