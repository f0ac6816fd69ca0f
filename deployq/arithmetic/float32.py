"""Float32 steps of ONNX Runtime's kernels that NumPy has no function for."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Float32Array: TypeAlias = npt.NDArray[np.float32]
Float32: TypeAlias = Float32Array | np.float32


def fma(a: Float32, b: Float32, c: Float32) -> Float32Array:
    """``a * b + c`` with one rounding, as the processor's fused instruction.

    The product of two float32 is exact in float64. The sum is rounded to odd there: then the
    second rounding, to float32, gives what one rounding would have given, because float64 has
    more than two bits to spare (Boldo and Melquiond, 2008).

    Args:
        a, b, c: float32, broadcastable, finite.
    """
    product = a.astype(np.float64) * b.astype(np.float64)
    addend = c.astype(np.float64)
    total = np.asarray(product + addend)
    # TwoSum (Knuth): product + addend = total + error, exactly
    shadow = total - product
    error = (product - (total - shadow)) + (addend - shadow)
    bits = total.view(np.int64)
    towards_error = np.where((error > 0) == (total > 0), 1, -1)
    inexact_and_even = (error != 0) & (bits & 1 == 0)
    odd = np.where(inexact_and_even, bits + towards_error, bits)
    return np.asarray(odd.view(np.float64)).astype(np.float32)
