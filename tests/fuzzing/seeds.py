"""Small sound files of every form that the reader knows: what the fuzzer damages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import ml_dtypes
import numpy as np
import onnx

from tests.qgraph.texts import model, qdq

MICROSOFT = "com.microsoft"


def convolutions() -> onnx.ModelProto:
    """Dense, depthwise and transposed, scales per channel, float and integer biases, clamps."""
    return qdq(
        """wd = DequantizeLinear <axis = 0> (w, sw4, zw4)
        bd = DequantizeLinear <axis = 0> (b, sb4, zb4)
        c = Conv(xd, wd, bd)
        r = Relu(c)
        rq = QuantizeLinear(r, sy, zy)
        rd = DequantizeLinear(rq, sy, zy)
        kd = DequantizeLinear(k, sw, zw)
        d = Conv <group = 4, kernel_shape = [3, 3], strides = [2, 2], auto_pad = "SAME_UPPER">
            (rd, kd, f)
        low = Constant <value = float {-1.0}> ()
        high = Constant <value = float {6.0}> ()
        l = Clip(d, low, high)
        lq = QuantizeLinear(l, sx, zx)
        ld = DequantizeLinear(lq, sx, zx)
        td = DequantizeLinear(t, sw, zw)
        v = ConvTranspose <strides = [2, 2], group = 2, output_padding = [1, 1]> (ld, td)""",
        sb4=np.float32([0.0625, 0.125, 0.25, 0.5]),
        zb4=np.zeros(4, np.int32),
        k=np.arange(-18, 18, dtype=np.int8).reshape(4, 1, 3, 3),
        f=np.float32([0.5, -0.5, 0.25, 1.0]),
        t=np.arange(-8, 8, dtype=np.int8).reshape(4, 1, 2, 2),
    )


def branches() -> onnx.ModelProto:
    """Sums, products, pools, tables and a join; a constant operand."""
    return qdq(
        """m = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (xd)
        mq = QuantizeLinear(m, sx, zx)
        md = DequantizeLinear(mq, sx, zx)
        cd = DequantizeLinear(c, sx, zx)
        a = Add(md, cd)
        aq = QuantizeLinear(a, sy, zy)
        ad = DequantizeLinear(aq, sy, zy)
        s = Sigmoid(ad)
        sq = QuantizeLinear(s, sy, zy)
        sd = DequantizeLinear(sq, sy, zy)
        p = Mul(ad, sd)
        pq = QuantizeLinear(p, sy, zy)
        pd = DequantizeLinear(pq, sy, zy)
        j = Concat <axis = 1> (md, pd, sd)
        jq = QuantizeLinear(j, sx, zx)
        jd = DequantizeLinear(jq, sx, zx)
        h = AveragePool <kernel_shape = [3, 3], pads = [1, 1, 1, 1], strides = [2, 2]> (jd)
        hq = QuantizeLinear(h, sy, zy)
        hd = DequantizeLinear(hq, sy, zy)
        v = GlobalAveragePool(hd)""",
        c=np.uint8([7, 8, 9]).reshape(1, 3, 1, 1),
    )


def classifier() -> onnx.ModelProto:
    """Codes moved, shapes folded, a Gemm with transB, a Softmax; the batch is free."""
    return qdq(
        """pads = Constant <value_ints = [0, 0, 1, 1, 0, 0, 0, 0]> ()
        p = Pad <mode = "reflect"> (xd, pads)
        first = Constant <value = int64[2] {1, 2}> ()
        last = Constant <value = int64[2] {7, 8}> ()
        axes = Constant <value = int64[2] {2, 3}> ()
        s = Slice(p, first, last, axes)
        t = Transpose <perm = [0, 2, 3, 1]> (s)
        n = Shape <start = 0, end = 1> (t)
        rest = Constant <value = int64[1] {-1}> ()
        shape = Concat <axis = 0> (n, rest)
        f = Reshape(t, shape)
        fq = QuantizeLinear(f, sx, zx)
        fd = DequantizeLinear(fq, sx, zx)
        gd = DequantizeLinear <axis = 0> (g, sg, zg)
        l = Gemm <transB = 1> (fd, gd, fb)
        lq = QuantizeLinear(l, sy, zy)
        ld = DequantizeLinear(lq, sy, zy)
        v = Softmax <axis = -1> (ld)""",
        out="N,C",
        g=np.arange(-108, 108, dtype=np.int8).reshape(2, 108),
        sg=np.float32([0.125, 0.25]), zg=np.int8([0, 0]), fb=np.float32([0.5, -1.5]),
    )  # fmt: skip


def narrow() -> onnx.ModelProto:
    """4-bit weights, one of them behind a Transpose, and the bias of a product as an Add."""
    four = np.arange(-6, 6).astype(ml_dtypes.int4)
    return qdq(
        """wd = DequantizeLinear <axis = 1> (w4, sw4, zw)
        p = MatMul(xd, wd)
        bd = DequantizeLinear <axis = 0> (b, sb, zb)
        s = Add(p, bd)
        q = QuantizeLinear(s, sy, zy)
        d = DequantizeLinear(q, sy, zy)
        vd = DequantizeLinear(v4, sw, z4)
        vt = Transpose <perm = [1, 0]> (vd)
        v = MatMul(d, vt)""",
        shape="N,5,3", out="N,5,3", opset=21,
        w4=four.reshape(3, 4), v4=four.reshape(3, 4), sw4=np.float32([0.125, 0.25, 0.125, 0.5]),
        zw=np.zeros(4, ml_dtypes.int4), z4=np.asarray(0, ml_dtypes.int4),
        sb=np.float32([0.0625, 0.125, 0.0625, 0.25]), zb=np.zeros(4, np.int32),
    )  # fmt: skip


def islands() -> onnx.ModelProto:
    """Operators in float between codes: a norm, an Erf, weights per block."""
    return qdq(
        """e = Erf(xd)
        kd = DequantizeLinear <axis = 0, block_size = 2> (blocks, sk, zk)
        u = Sub(e, kd)
        n = LayerNormalization <axis = -1> (u, one)
        q = QuantizeLinear(n, sy, zy)
        d = DequantizeLinear(q, sy, zy)
        v = MatMul(d, d)""",
        shape="N,8,8", out="N,8,8", opset=21,
        blocks=np.arange(64, dtype=np.uint8).reshape(8, 8),
        sk=np.full((4, 8), 0.125, np.float32), zk=np.full((4, 8), 30, np.uint8),
        one=np.ones(8, np.float32),
    )  # fmt: skip


def looked_at() -> onnx.ModelProto:
    """What is checked and not run: blocks, scales of activations, a bias of its own, codes under
    reals.
    """
    return qdq(
        """kd = DequantizeLinear <axis = 0, block_size = 2> (k, sk, zk)
        p = MatMul(xd, kd)
        bd = DequantizeLinear(b4, own, zb)
        s = Add(p, bd)
        q = QuantizeLinear <axis = 1> (s, sc, zc)
        d = DequantizeLinear <axis = 1> (q, sc, zc)
        e = Erf(d)
        kt = Transpose(kd)
        v = MatMul(e, kt)""",
        shape="N,4", out="N,4", opset=21,
        k=np.arange(8, dtype=np.int8).reshape(4, 2), sk=np.full((2, 2), 0.25, np.float32),
        zk=np.zeros((2, 2), np.int8), b4=np.int32([5, -7]), own=np.float32(0.3),
        sc=np.float32([0.5, 1.0]), zc=np.uint8([3, 0]),
    )  # fmt: skip


def resized() -> onnx.ModelProto:
    """Codes in and out, resized, padded and clipped without leaving them; 16 bits behind."""
    return model(
        """g (uint8[N,3,8,8] x) => (uint8[N,3,H,W] c, uint16[N,3,A,B] y) {
        xd = DequantizeLinear(x, sx, zx)
        pads = Constant <value_ints = [1, 1, 0, 0]> ()
        axes = Constant <value_ints = [2, 3]> ()
        p = Pad(x, pads, seven, axes)
        c = Clip(p, seven, ninety)
        r = Resize <coordinate_transformation_mode = "asymmetric", nearest_mode = "floor">
            (xd, , twice)
        y = QuantizeLinear(r, sy, z16)
        }""",
        opset=21, seven=np.uint8(7), ninety=np.uint8(90), twice=np.float32([1, 1, 2, 3]),
        z16=np.uint16(300),
    )  # fmt: skip


def operators() -> onnx.ModelProto:
    """QOperator form: QLinearConv and QLinearMatMul of ONNX and the set of com.microsoft."""
    return model(
        """g (float[N,3,4,4] x) => (float[N,2] y) {
        xq = QuantizeLinear(x, sx, zx)
        c = QLinearConv <kernel_shape = [1, 1]> (xq, sx, zx, w, sw4, zw4, sy, zy, b)
        a = com.microsoft.QLinearAdd(c, sy, zy, c, sy, zy, sx, zx)
        p = com.microsoft.QLinearMul(a, sx, zx, c, sy, zy, sy, zy)
        l = com.microsoft.QLinearLeakyRelu <alpha = 0.1> (p, sy, zy, sy, zy)
        s = com.microsoft.QLinearSigmoid(l, sy, zy, sy, zy)
        j = com.microsoft.QLinearConcat <axis = 1> (sx, zx, s, sy, zy, a, sx, zx)
        v = com.microsoft.QLinearAveragePool <kernel_shape = [2, 2], strides = [2, 2]>
            (j, sx, zx, sy, zy)
        n = com.microsoft.QLinearGlobalAveragePool(v, sy, zy, sx, zx)
        f = Flatten(n)
        g = com.microsoft.QGemm <transB = 1> (f, sx, zx, q, sw, zw, i, sy, zy)
        h = QLinearMatMul(g, sy, zy, k, sw, zw, sx, zx)
        y = DequantizeLinear(h, sx, zx)
        }""",
        q=np.arange(-12, 12, dtype=np.int8).reshape(3, 8), i=np.int32([5, -5, 0]),
        k=np.arange(6, dtype=np.int8).reshape(3, 2),
    )  # fmt: skip


SOUND = (convolutions, branches, classifier, narrow, islands, looked_at, resized, operators)
SEEDS: Mapping[str, Callable[[], onnx.ModelProto]] = {made.__name__: made for made in SOUND}


@cache
def _bytes(name: str) -> bytes:
    return SEEDS[name]().SerializeToString(deterministic=True)


def seed_bytes(name: str) -> bytes:
    """A seed as a file holds it."""
    return _bytes(name)


def seed_model(name: str) -> onnx.ModelProto:
    """A copy of a seed of one's own."""
    return onnx.load_model_from_string(_bytes(name))


def samples(model: onnx.ModelProto, most: int = 16) -> dict[str, np.ndarray[Any, Any]] | None:
    """Small numbers for the inputs of a file; None where an axis is longer than ``most``."""
    found = {}
    for value in model.graph.input:
        declared = value.type.tensor_type
        shape = [d.dim_value or 2 for d in declared.shape.dim]
        if any(not 0 < size <= most for size in shape) or len(shape) > 5:
            return None
        try:
            dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(declared.elem_type))
        except KeyError:
            return None
        found[value.name] = (np.arange(int(np.prod(shape))) % 5).reshape(shape).astype(dtype)
    return found
