"""Interpolations of pictures as one Resize, for the trace that becomes ONNX.

Torch's own translation computes the sizes from the shape of the input; ours states whole factors,
or rows and columns, and leaves the batch out of it. ONNX Resize, opset 18.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from onnxscript import opset18 as op

WAY: dict[str, Any] = {
    "mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor",
}  # fmt: skip
"""The cell ``floor(i length / size)``."""
LINEAR: dict[str, Any] = {"mode": "linear"}
CUBIC: dict[str, Any] = {"mode": "cubic", "cubic_coeff_a": -0.75}
ALIGNED, CENTRES = "align_corners", "pytorch_half_pixel"
"""Positions that are read: corners on corners, or the middles of cells."""


def _to_onnx_resize(x: Any, output_size: Sequence[int], scale_factors: None = None) -> Any:
    lengths = list(x.shape)[2:]
    if all(size % length == 0 for size, length in zip(output_size, lengths, strict=True)):
        factors = [size / length for size, length in zip(output_size, lengths, strict=True)]
        scales: Any = op.Constant(value_floats=[1.0, 1.0, *factors])
        return op.Resize(x, None, scales, None, **WAY)
    sizes: Any = op.Constant(value_ints=list(output_size))
    return op.Resize(x, None, None, sizes, axes=[2, 3], **WAY)


def _interpolation(way: dict[str, Any]) -> Callable[..., Any]:
    """Of torch's ``upsample_...2d.vec``: a size, or factors of rows and columns."""

    def to_onnx(
        x: Any,
        output_size: Sequence[int] | None,
        align_corners: bool,
        scale_factors: Sequence[float] | None = None,
    ) -> Any:
        options = {**way, "coordinate_transformation_mode": ALIGNED if align_corners else CENTRES}
        lengths = list(x.shape)[2:]
        factors = list(scale_factors or map(_factor, lengths, output_size or ()))
        scales: Any = op.Constant(value_floats=[1.0, 1.0, *factors])
        return op.Resize(x, None, scales, None, **options)

    return to_onnx


def _factor(length: int, size: int) -> float:
    """The least float32 from ``size / length`` on of which ``floor(length * factor)`` is the size.

    All axes have one: ONNX Runtime 1.31 mixes up ``axes`` where it puts channels last.
    """
    factor = np.float32(size / length)
    while length * float(factor) < size:
        factor = np.nextafter(factor, np.float32(np.inf))
    return float(factor)


TRANSLATIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    torch.ops.aten.upsample_nearest2d.vec: _to_onnx_resize,
    torch.ops.aten.upsample_bilinear2d.vec: _interpolation(LINEAR),
    torch.ops.aten.upsample_bicubic2d.vec: _interpolation(CUBIC),
}
"""For ``torch.onnx.export(custom_translation_table=...)``."""
