"""A network of two convolutions, and one fault a time planted in the first of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import onnx

from deployq.arithmetic.contract import Accumulator, Contract, Form, Kind, Overflow, Rounding
from deployq.arithmetic.oracle.linear import conv_accumulate
from deployq.divergence.sides import Array, Codes, Simulated
from deployq.opened_file import OpenedFile
from deployq.qgraph import read_graph
from deployq.qgraph.nodes import Linear
from tests.qgraph.texts import model, node

CONVS = """g (float[N,3,8,8] x) => (float[N,2,8,8] y) {{
    a = QuantizeLinear(x, sa, za)
    ad = DequantizeLinear(a, sa, za)
    w1d = DequantizeLinear <axis = 0> (w1, sw1, zw1)
    b1d = DequantizeLinear <axis = 0> (b1, sb1)
    v1 = Conv <pads = [{pads}]> (ad, w1d, b1d)
    {after}
    h = QuantizeLinear({last}, sh, zh)
    hd = DequantizeLinear(h, sh, zh)
    w2d = DequantizeLinear(w2, sw2, zw2)
    v2 = Conv(hd, w2d)
    c = QuantizeLinear(v2, sc, zc)
    y = DequantizeLinear(c, sc, zc)
}}"""
RELU, IN_FLOAT = "r1 = Relu(v1)", "r1 = Exp(v1)"
CHANNELS = 4

FIXED = Contract("fixed", Form(Kind.FIXED, Rounding.HALF_UP))
"""What both sides compute where no fault is planted."""


def constants(*, ties: bool = False) -> dict[str, Any]:
    """Per-channel weights, activations s8; with ``ties``, scales are powers of two."""
    rng = np.random.default_rng(3)
    sw1 = np.float32([0.011, 0.013, 0.017, 0.019])
    sa, sh, sc = np.float32([0.021, 0.09, 0.11])
    if ties:
        sw1, sa, sh, sc = np.exp2(np.float32([-6, -6, -7, -7])), *np.exp2(np.float32([-5, -4, -3]))
    b1 = rng.integers(-4000, 4000, CHANNELS).astype(np.int32)
    return {
        "sa": sa, "za": np.int8(5), "sh": sh, "zh": np.int8(-20), "sc": sc, "zc": np.int8(3),
        "w1": rng.integers(-127, 128, (CHANNELS, 3, 3, 3)).astype(np.int8), "sw1": sw1,
        "zw1": np.zeros(CHANNELS, np.int8), "b1": b1, "sb1": sa * sw1,
        "w2": rng.integers(-127, 128, (2, CHANNELS, 1, 1)).astype(np.int8),
        "sw2": np.float32(2.0**-6), "zw2": np.int8(0),
    }  # fmt: skip


def convs(after: str = RELU, pads: str = "1,1,1,1", **changed: Any) -> onnx.ModelProto:
    """The network with constants of :func:`constants`, or others; ``after`` the first one."""
    text = CONVS.format(after=after, last="r1" if after else "v1", pads=pads)
    return model(text, opset=21, **(constants(ties=changed.pop("ties", False)) | changed))


def simulated(file: onnx.ModelProto, contract: Contract = FIXED, label: str = "A") -> Simulated:
    return Simulated(label, OpenedFile(file, read_graph(file)), contract)


def inputs(count: int = 8) -> dict[str, Array]:
    """Reals that fill the codes of ``a``."""
    rng = np.random.default_rng(1)
    return {"x": rng.standard_normal((count, 3, 8, 8)).astype(np.float32)}


def with_form(**words: Any) -> Contract:
    """The contract of both sides with other words in its form."""
    return replace(FIXED, default=replace(FIXED.default, **words))


def wrapping(bits: int) -> Contract:
    return replace(FIXED, accumulator=Accumulator(bits, Overflow.WRAP))


class ClipsEarly(Simulated):
    """A kernel that saturates the rescaled sum before it adds the zero point."""

    def run(self, inputs: Codes, forced: Codes | None = None) -> dict[str, Array]:
        given: Mapping[str, Array] = forced or {}
        x = given.get("a", super().run(inputs)["a"])
        h = self._kernel(x)
        after = super().run(inputs, {**given, "h": given.get("h", h)})
        return {**after, "h": h}

    def _kernel(self, x: Array) -> Array:
        graph = self.file.graph
        conv: Linear = node(graph, "h")
        qa, qh = graph.qparams["a"], graph.qparams["h"]
        acc = conv_accumulate(x, int(qa.zero_point), conv.weight, 0, conv.bias, conv.geometry)
        real = np.float64(qa.scale) * conv.weight_qparams.scale.astype(np.float64) / qh.scale
        value = np.floor(acc * real.reshape(1, -1, 1, 1) + 0.5).clip(-128, 127)
        low, high = conv.bounds or (-128, 127)
        return (value + int(qh.zero_point)).clip(low, high).astype(np.int64)
