"""The reference of the affine arithmetic (law 1): everything else is tested against this page.

ONNX QuantizeLinear, opsets 10 to 25: ``saturate(round_half_even(x / scale) + zero_point)``, in
this order: divide in float32 (no reciprocal), round, add, saturate.
ONNX DequantizeLinear: ``(code - zero_point) * scale`` in float32.
"""

from __future__ import annotations

import numpy as np

from deployq.qparams import FloatArray, IntArray, QParams


def quantize(x: FloatArray, qparams: QParams) -> IntArray:
    """Codes of ``x``.

    Args:
        x: finite float32, any shape.
        qparams: parameters; per-channel and per-block ones follow the shape of ``x``.

    Returns:
        Codes of the same shape in ``qparams.qtype.dtype``.
    """
    qtype = qparams.qtype
    scale, zero_point = qparams.expanded(x.shape)
    with np.errstate(over="ignore"):  # a tiny scale gives inf, which saturates
        rounded = np.rint(x.astype(np.float32) / scale)
    # int64 holds every sum exactly; beyond 2**40 a code saturates whatever the zero point
    offset = np.clip(rounded, -(2.0**40), 2.0**40).astype(np.int64) + zero_point
    codes: IntArray = np.clip(offset, qtype.qmin, qtype.qmax).astype(qtype.dtype)
    return codes


def dequantize(codes: IntArray, qparams: QParams) -> FloatArray:
    """Real values of ``codes``, float32, same shape."""
    scale, zero_point = qparams.expanded(codes.shape)
    return (codes.astype(np.int64) - zero_point).astype(np.float32) * scale


def fake_quantize(x: FloatArray, qparams: QParams) -> FloatArray:
    """``dequantize(quantize(x))``: x moved to the grid."""
    return dequantize(quantize(x, qparams), qparams)
