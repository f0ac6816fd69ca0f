"""Which entry of a contract states the arithmetic of a layer."""

from __future__ import annotations

from deployq.arithmetic.geometry import ConvGeometry, PoolGeometry

KIND = "_"
"""Between an ONNX operator and a kind of it."""

DEPTHWISE_BY_2 = f"Conv{KIND}depthwise_by_2"
"""Each channel alone, in steps of 2, windows of 2 to 7 cells a side: HTP has a kernel for it."""

DILATED_IN_STEPS = f"Conv{KIND}dilated_in_steps"
"""Windows with gaps, in steps of more than 1, but for the kind above."""

GROUPED = f"Conv{KIND}grouped"
"""More than one group, but for the kinds above."""

MEAN_BY_2 = f"AveragePool{KIND}by_2"
"""Means of 2, 3, 5 or 7 cells a side in steps of 2, without pads: HTP's others have other kernels.
"""

FACTORS = f"MatMul{KIND}factors"
"""Of two activations, where LiteRT's layers with constants are rounded otherwise."""

FACTORS_SHIFTED = f"{FACTORS}{KIND}shifted"
"""So, the second with another zero point than the middle of its type: XNNPACK leaves them to
another kernel, HTP makes other codes of the factor first."""

KINDS = (DEPTHWISE_BY_2, DILATED_IN_STEPS, GROUPED, MEAN_BY_2, FACTORS, FACTORS_SHIFTED)
"""All that a contract may name beside the operators."""

WIDE = f"{KIND}wide"
"""Ends the name of the form that stands in for another where codes have more than 8 bits."""

NARROW = 8

_SIDES, _MEAN_SIDES = range(2, 8), (2, 3, 5, 7)


def form_name(op_type: str, weight: tuple[int, ...], geometry: ConvGeometry) -> str:
    """The operator, or the kind of it that a target may compute in another way.

    Args:
        weight: shape, (O, C/g, kh, kw) of Conv.
        geometry: of the convolution; that of other operators is not looked at.
    """
    if op_type != "Conv":
        return op_type
    depthwise = geometry.groups == weight[0] > 1 == weight[1] and geometry.strides == (2, 2)
    if depthwise and all(side in _SIDES for side in weight[2:]):
        return DEPTHWISE_BY_2
    if max(geometry.strides) > 1 and max(geometry.dilations) > 1:
        return DILATED_IN_STEPS
    return GROUPED if geometry.groups > 1 else op_type


def product_form_name(*, shifted: bool) -> str:
    """The kind of MatMul that multiplies two activations.

    Args:
        shifted: see ``QParams.is_shifted``, of the second.
    """
    return FACTORS_SHIFTED if shifted else FACTORS


def function_form_name(function: str) -> str:
    """The operator that states the arithmetic of a function of one value.

    Swish is what a Sigmoid and its Mul are together (``Gating.JOINED``): a target has no words of
    its own for it.
    """
    return "Sigmoid" if function == "Swish" else function


def pool_form_name(op_type: str, geometry: PoolGeometry | None) -> str:
    """The operator, or the kind of it, as :func:`form_name`.

    Args:
        geometry: None of a mean over the whole map.
    """
    if op_type != "AveragePool" or geometry is None:
        return op_type
    rows, columns = geometry.kernel
    square = rows == columns and rows in _MEAN_SIDES
    plain = geometry.strides == (2, 2) and not any(geometry.pads)
    return MEAN_BY_2 if square and plain else op_type
