"""The weights of products as the file stores them: codes, their type, and what shares a scale."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import onnx

from deployq.qgraph.floats import PRODUCTS
from deployq.qgraph.values import attributes, label
from deployq.qgraph.walk import ELEMENT_TYPES
from deployq.qparams import Granularity, PerBlock, PerChannel, PerTensor
from deployq.qtypes import QType

Tensors = Mapping[str, onnx.TensorProto]


@dataclass(frozen=True)
class StoredWeight:
    """Codes behind a DequantizeLinear that a product reads as its weight.

    Args:
        node, op_type: the product.
        tensor: name of the codes.
        qtype: their type.
        shape: as the product reads them, behind a Transpose.
        granularity: with its axis counted in ``shape``, from 0.
        output_axis: of the output channels in ``shape``.
    """

    node: str
    op_type: str
    tensor: str
    qtype: QType
    shape: tuple[int, ...]
    granularity: Granularity
    output_axis: int


def stored_weights(model: onnx.ModelProto, constants: Tensors) -> Iterator[StoredWeight]:
    """The weights of Conv, ConvTranspose, Gemm and MatMul, in file order.

    Args:
        constants: by name.
    """
    makers = {name: node for node in model.graph.node for name in node.output}
    for node in model.graph.node:
        if node.op_type not in PRODUCTS:
            continue
        border, moved = makers.get(node.input[1]), None
        if border is not None and border.op_type == "Transpose":
            border, moved = makers.get(border.input[0]), border
        if border is None or border.op_type != "DequantizeLinear":
            continue
        codes = constants.get(border.input[0])
        if codes is not None and codes.data_type in ELEMENT_TYPES:
            made = StoredWeight(
                label(node), node.op_type, border.input[0], ELEMENT_TYPES[codes.data_type],
                tuple(codes.dims), _granularity(border, len(codes.dims), constants),
                _output_axis(node, len(codes.dims)),
            )  # fmt: skip
            yield made if moved is None else _transposed(made, moved)


def _transposed(weight: StoredWeight, node: onnx.NodeProto) -> StoredWeight:
    reverse = range(len(weight.shape))[::-1]
    perm, granularity = list(attributes(node).get("perm", reverse)), weight.granularity
    if not isinstance(granularity, PerTensor):
        granularity = replace(granularity, axis=perm.index(granularity.axis))
    shape = tuple(weight.shape[axis] for axis in perm)
    return replace(weight, shape=shape, granularity=granularity)


def _granularity(border: onnx.NodeProto, rank: int, constants: Tensors) -> Granularity:
    facts, scale = attributes(border), constants.get(border.input[1])
    axis, block = facts.get("axis", 1) % max(rank, 1), facts.get("block_size", 0)
    if block:
        return PerBlock(axis, block)
    one = scale is not None and all(extent == 1 for extent in scale.dims)
    return PerTensor() if one else PerChannel(axis)


def _output_axis(node: onnx.NodeProto, rank: int) -> int:
    if node.op_type == "MatMul":
        return rank - 1
    if node.op_type == "Gemm":
        return 0 if attributes(node).get("transB", 0) else 1
    return 0 if node.op_type == "Conv" else 1
