"""What the reader knows of a tensor while it walks the file."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
import onnx

from deployq import affine
from deployq.errors import DeployqError, UnsupportedError
from deployq.qgraph.nodes import Bounds, Node
from deployq.qparams import Granularity, IntArray, PerBlock, PerTensor, QParams

Error = TypeVar("Error", bound=DeployqError)


@dataclass(frozen=True)
class Clamp:
    """The reals that Relu and Clip leave; ``low`` is at most ``high``."""

    low: float = -math.inf
    high: float = math.inf

    def then(self, after: Clamp) -> Clamp:
        """This clamp, then another."""
        return Clamp(after._nearest(self.low), after._nearest(self.high))

    def _nearest(self, x: float) -> float:
        return min(max(x, self.low), self.high)

    def bounds(self, qparams: QParams) -> Bounds | None:
        """The codes that are left; None when these are all, or differ from channel to channel."""
        if self == Clamp() or not isinstance(qparams.granularity, PerTensor):
            return None
        edges = np.asarray([self.low, self.high], np.float32)
        low, high = (int(code) for code in affine.quantize(edges, qparams))
        whole = (qparams.qtype.qmin, qparams.qtype.qmax)
        return None if (low, high) == whole else (low, high)


@dataclass(frozen=True)
class CodesOf:
    """Codes of the tensor ``name``, not yet read as reals."""

    name: str


@dataclass(frozen=True)
class RealOf:
    """Reals that a DequantizeLinear reads from the code tensor ``codes``."""

    codes: str


@dataclass(frozen=True, eq=False)
class Constant:
    """An initializer or what follows from it: reals, codes as they stand, or a shape.

    A shape is an object array whose symbolic dimensions are texts.
    """

    data: npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class QuantizedConstant:
    """Constant codes with their parameters.

    Raises:
        QuantizationError: the parameters are not those of a tensor of this shape.
    """

    codes: IntArray
    qparams: QParams

    def __post_init__(self) -> None:
        self.qparams.check_shape(self.codes.shape)

    def transposed(self, perm: tuple[int, ...]) -> QuantizedConstant:
        """Axes permuted; the axis of channels or blocks moves along."""
        codes, qparams, granularity = self.codes.transpose(perm), self.qparams, self.granularity
        if isinstance(granularity, PerTensor):
            return QuantizedConstant(codes, qparams)
        scale, zero_point = qparams.scale, qparams.zero_point
        if isinstance(granularity, PerBlock):
            scale, zero_point = scale.transpose(perm), zero_point.transpose(perm)
        moved = replace(granularity, axis=perm.index(granularity.axis % len(perm)))
        return QuantizedConstant(codes, QParams(qparams.qtype, scale, zero_point, moved))

    @property
    def granularity(self) -> Granularity:
        return self.qparams.granularity


@dataclass(frozen=True)
class GraphInput:
    """A real graph input, perhaps clamped."""

    name: str
    clamp: Clamp = Clamp()


@dataclass(frozen=True)
class Real:
    """What an operator in float computed."""

    name: str


@dataclass(frozen=True)
class Waiting:
    """An integer operator whose output parameters the next QuantizeLinear states.

    Args:
        node: complete but for ``output`` and ``bounds``.
        clamp: of a Relu or Clip after it.
    """

    node: Node
    clamp: Clamp = Clamp()


Value: TypeAlias = CodesOf | RealOf | Constant | QuantizedConstant | GraphInput | Real | Waiting

_WORDS: dict[type, str] = {
    CodesOf: "codes", RealOf: "dequantized codes", Constant: "a constant",
    QuantizedConstant: "dequantized constant codes", GraphInput: "a real graph input",
    Real: "reals of an operator in float",
}  # fmt: skip


def describe(value: Value | None) -> str:
    """What a tensor is, for messages."""
    if isinstance(value, Waiting):
        return f"the unquantized output of {value.node.op_type} {value.node.name}"
    return "nothing" if value is None else _WORDS[type(value)]


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """Attribute names to Python values; text is decoded."""
    values = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    return {k: v.decode() if isinstance(v, bytes) else v for k, v in values.items()}


def label(node: onnx.NodeProto) -> str:
    """How messages and integer nodes call an ONNX node: its name, or its output's."""
    return node.name or next(iter(node.output), "") or node.op_type


def where(node: onnx.NodeProto) -> str:
    """Name and operator of a node, for messages."""
    domain = "" if node.domain in ("", "ai.onnx") else f"{node.domain}::"
    return f"node {label(node)} ({domain}{node.op_type})"


def refuse(
    node: onnx.NodeProto, rule: str, found: str, allowed: str = "", *, next_step: str = ""
) -> UnsupportedError:
    """The error for a node that has no integer meaning here."""
    default = "quantize the operator's inputs and output, or leave it out of the graph"
    return UnsupportedError(
        where(node), rule, found=found, allowed=allowed, next_step=next_step or default
    )


def located(error: Error, place: str) -> Error:
    """The same error, with the node where it happened in front."""
    return type(error)(
        f"{place}, {error.where}",
        error.rule,
        found=error.found,
        allowed=error.allowed,
        next_step=error.next_step,
    )
