"""Two layouts of one weight: outputs first, as Conv and Gemm have it, and inputs first.

ONNX and torch hold the weights of a transposed convolution inputs first: (C, O / g, kh, kw) for C
inputs, O outputs and g groups. The integers of this package are outputs first, (O, C / g, kh, kw),
for every operator, so channel scales, sums and zero points lie along axis 0. Both functions take
NumPy arrays and torch tensors; channel o of group i is ``i O / g + o`` in either layout.
"""

from __future__ import annotations

from typing import Any, TypeVar

from torch import Tensor

Array = TypeVar("Array", Any, Tensor)


def outputs_first(weight: Array, groups: int) -> Array:
    """(C, O / g, kh, kw) to (O, C / g, kh, kw)."""
    return _swap(weight, groups)


def inputs_first(weight: Array, groups: int) -> Array:
    """(O, C / g, kh, kw) to (C, O / g, kh, kw)."""
    return _swap(weight, groups)


def _swap(weight: Array, groups: int) -> Array:
    """Inside each group, the first two axes change places: its own inverse."""
    first, second, *kernel = weight.shape
    grouped = weight.reshape(groups, first // groups, second, *kernel)
    return grouped.swapaxes(1, 2).reshape(groups * second, first // groups, *kernel)
