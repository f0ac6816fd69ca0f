"""What the reader knows of a tensor while it walks the file."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import onnx

from deployq.errors import UnsupportedError
from deployq.qgraph.nodes import Node
from deployq.qparams import IntArray, PerChannel, QParams


@dataclass(frozen=True)
class CodesOf:
    """Codes of the tensor ``name``, not yet read as reals."""

    name: str


@dataclass(frozen=True)
class RealOf:
    """Reals that a DequantizeLinear reads from the code tensor ``codes``."""

    codes: str
    qparams: QParams


@dataclass(frozen=True, eq=False)
class Constant:
    """An initializer: reals, shapes or integers as they stand."""

    data: npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class QuantizedConstant:
    """Constant codes with their parameters."""

    codes: IntArray
    qparams: QParams

    def transposed(self, perm: tuple[int, ...]) -> QuantizedConstant:
        """Axes permuted; a per-channel axis moves along."""
        granularity = self.qparams.granularity
        if isinstance(granularity, PerChannel):
            granularity = PerChannel(perm.index(granularity.axis % len(perm)))
        qparams = replace(self.qparams, granularity=granularity)
        return QuantizedConstant(self.codes.transpose(perm), qparams)


@dataclass(frozen=True)
class GraphInput:
    """A real graph input."""

    name: str


@dataclass(frozen=True)
class Waiting:
    """An integer operator whose output parameters the next QuantizeLinear states.

    Args:
        node: complete but for ``output`` and ``bounds``.
        low, high: reals that a Relu or Clip after it leaves.
    """

    node: Node
    low: float = float("-inf")
    high: float = float("inf")


Value: TypeAlias = CodesOf | RealOf | Constant | QuantizedConstant | GraphInput | Waiting


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """Attribute names to Python values; text is decoded."""
    values = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    return {k: v.decode() if isinstance(v, bytes) else v for k, v in values.items()}


def label(node: onnx.NodeProto) -> str:
    """How messages call a node: its name, or its operator and output."""
    return node.name or f"{node.op_type} -> {node.output[0]}"


def refuse(node: onnx.NodeProto, rule: str, found: str, allowed: str = "") -> UnsupportedError:
    """The error for a node that has no integer meaning here."""
    return UnsupportedError(
        f"node {label(node)}", rule, found=found, allowed=allowed,
        next_step="quantize the operator's inputs and output, or leave it out of the graph",
    )


def as_codes(array: npt.NDArray[Any]) -> IntArray:
    """Packed and narrow integers as int64."""
    return np.asarray(array).astype(np.int64)
