"""ONNX operators as torch functions, by name."""

from deployq.graph.onnx_import.operators import (
    activations,
    convolution,
    elementwise,
    identity,
    linear,
    movement,
    normalization,
    pooling,
    reduction,
    reshaping,
    resize,
)
from deployq.graph.onnx_import.operators.operator import Operator

OPERATORS: dict[str, Operator] = {
    **convolution.OPERATORS,
    **linear.OPERATORS,
    **normalization.OPERATORS,
    **activations.OPERATORS,
    **elementwise.OPERATORS,
    **pooling.OPERATORS,
    **reduction.OPERATORS,
    **reshaping.OPERATORS,
    **movement.OPERATORS,
    **resize.OPERATORS,
    **identity.OPERATORS,
}
