"""BatchNormalization in inference, LayerNormalization and RMSNormalization."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from deployq.graph.onnx_import.arguments import expect
from deployq.graph.onnx_import.batch import own_axis
from deployq.graph.onnx_import.node import OnnxNode
from deployq.graph.onnx_import.operators.operator import Operator


def batch_normalization(
    node: OnnxNode, x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, variance: Tensor
) -> Tensor:
    """BatchNormalization-7 to 15; ONNX's momentum is what stays, torch's is what is new."""
    expect(
        node,
        not node.get("training_mode", 0) and node.get("spatial", 1) == 1,
        "batch normalization uses stored statistics, one a channel",
        "training_mode" if node.get("training_mode", 0) else "spatial 0",
        "inference",
        "export the network after model.eval()",
    )
    own_axis(node, x, 1)
    learning = round(1.0 - node.get("momentum", 0.9), 6) or 0.1
    eps = node.get("epsilon", 1e-5)
    return F.batch_norm(x, mean, variance, scale, bias, False, learning, eps)


def layer_normalization(
    node: OnnxNode, x: Tensor, scale: Tensor, bias: Tensor | None = None
) -> Tensor:
    """LayerNormalization-17, over the axes from ``axis`` on."""
    shape = _normalized(node, x, scale, bias)
    return F.layer_norm(x, shape, scale, bias, node.get("epsilon", 1e-5))


def rms_normalization(node: OnnxNode, x: Tensor, scale: Tensor) -> Tensor:
    """RMSNormalization-23, over the axes from ``axis`` on."""
    return F.rms_norm(x, _normalized(node, x, scale), scale, node.get("epsilon", 1e-5))


def _normalized(node: OnnxNode, x: Tensor, scale: Tensor, bias: Tensor | None = None) -> list[int]:
    """Sizes of the axes that are normalized together."""
    first = own_axis(node, x, node.get("axis", -1))
    for axis in range(first, x.ndim):
        own_axis(node, x, axis)
    shape = [int(size) for size in x.shape[first:]]
    expect(
        node,
        list(scale.shape) == shape and (bias is None or list(bias.shape) == shape),
        "scale and bias have the shape of what is normalized",
        tuple(scale.shape),
        str(tuple(shape)),
    )
    return shape


OPERATORS = {
    "BatchNormalization": Operator(batch_normalization),
    "LayerNormalization": Operator(layer_normalization),
    "RMSNormalization": Operator(rms_normalization),
}
