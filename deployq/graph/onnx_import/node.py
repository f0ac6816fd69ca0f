"""One node of an ONNX file, with its facts as Python values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import onnx
from torch import Tensor

from deployq.errors import UnsupportedError

Array: TypeAlias = npt.NDArray[Any]
Value: TypeAlias = Tensor | Array | None
"""An activation or parameter; a constant or the sizes of a tensor; an input left out."""

NEXT = "export the float network from its framework, or give deployq a .pt2 file"


@dataclass(frozen=True)
class OnnxNode:
    """A node.

    Args:
        op_type: operator of the default domain, or ``Linear`` (see ``linear_layers``).
        name: the node's own name, else its first output.
        inputs, outputs: value names, '' for one that is left out.
        attributes: numbers, lists, text, and tensors as arrays.
        opset: of the default domain.
        free_batch: the file takes any batch; else it is written for a batch of one.
    """

    op_type: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    opset: int
    free_batch: bool = True

    def get(self, key: str, default: Any = None) -> Any:
        """An attribute, or the operator's default."""
        return self.attributes.get(key, default)

    @property
    def where(self) -> str:
        """Name, operator, domain and opset, for messages."""
        return f"{self.name} ({self.op_type}, domain ai.onnx, opset {self.opset})"

    def refuse(
        self, rule: str, found: object, allowed: str, next_step: str = NEXT
    ) -> UnsupportedError:
        """The error that says why this node cannot be imported."""
        return UnsupportedError(
            self.where, rule, found=str(found), allowed=allowed, next_step=next_step
        )


def read_node(proto: onnx.NodeProto, opset: int, free_batch: bool = True) -> OnnxNode:
    """A node of the default domain as a value."""
    return OnnxNode(
        proto.op_type,
        proto.name or next((name for name in proto.output if name), proto.op_type),
        tuple(proto.input),
        tuple(proto.output),
        {attribute.name: _plain(attribute) for attribute in proto.attribute},
        opset,
        free_batch,
    )


def _plain(attribute: onnx.AttributeProto) -> Any:
    value = onnx.helper.get_attribute_value(attribute)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, onnx.TensorProto):
        return np.asarray(onnx.numpy_helper.to_array(value))
    return value
