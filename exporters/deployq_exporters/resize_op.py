"""``aten.upsample_nearest2d`` as one Resize, for the trace that becomes ONNX.

Torch's own translation computes the sizes from the shape of the input; ours states whole factors,
or rows and columns, and leaves the batch out of it. ONNX Resize, opset 18.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from onnxscript import opset18 as op

WAY: dict[str, Any] = {
    "mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor",
}  # fmt: skip
"""The cell ``floor(i length / size)``."""


def _to_onnx_resize(x: Any, output_size: Sequence[int], scale_factors: None = None) -> Any:
    lengths = list(x.shape)[2:]
    if all(size % length == 0 for size, length in zip(output_size, lengths, strict=True)):
        factors = [size / length for size, length in zip(output_size, lengths, strict=True)]
        scales: Any = op.Constant(value_floats=[1.0, 1.0, *factors])
        return op.Resize(x, None, scales, None, **WAY)
    sizes: Any = op.Constant(value_ints=list(output_size))
    return op.Resize(x, None, None, sizes, axes=[2, 3], **WAY)


TRANSLATIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    torch.ops.aten.upsample_nearest2d.vec: _to_onnx_resize,
}
"""For ``torch.onnx.export(custom_translation_table=...)``."""
