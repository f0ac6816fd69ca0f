"""Which entry of a contract states the arithmetic of a layer."""

from __future__ import annotations

from deployq.arithmetic.geometry import ConvGeometry

KIND = "_"
"""Between an ONNX operator and a kind of it."""

DEPTHWISE_BY_2 = f"Conv{KIND}depthwise_by_2"
"""Each channel alone, in steps of 2, windows of 2 to 7 cells a side: HTP has a kernel for it."""

_SIDES = range(2, 8)


def form_name(op_type: str, weight: tuple[int, ...], geometry: ConvGeometry) -> str:
    """The operator, or the kind of it that a target may compute in another way.

    Args:
        weight: shape, (O, C/g, kh, kw) of Conv.
        geometry: of the convolution; that of other operators is not looked at.
    """
    if op_type != "Conv" or geometry.strides != (2, 2):
        return op_type
    depthwise = geometry.groups == weight[0] > 1 == weight[1]
    return DEPTHWISE_BY_2 if depthwise and all(side in _SIDES for side in weight[2:]) else op_type
