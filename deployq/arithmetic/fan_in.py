"""How much weight flows into each output channel: what bounds its sums."""

from __future__ import annotations

from typing import Any, TypeVar

from torch import Tensor

Array = TypeVar("Array", Any, Tensor)


def absolute_sums(weight: Array, channel_axis: int) -> Array:
    """(O,): the sum of absolute values into each channel; NumPy arrays and torch tensors.

    ``|sum| <= max |x - z_x| * absolute_sums(w - z_w) + |bias|`` for each channel.
    """
    others = tuple(axis for axis in range(weight.ndim) if axis != channel_axis)
    magnitudes: Any = abs(weight)  # torch takes NumPy's word for dim, and does not type it
    total: Array = magnitudes.sum(axis=others)
    return total
