"""An ONNX file as rules look at it: its own Q and DQ nodes, and its integer nodes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from deployq.arithmetic.contract import QDQ, Contract
from deployq.arithmetic.intervals import Interval
from deployq.qgraph import IntegerGraph, read_graph
from deployq.qgraph.nodes import Dequantize, Float, Linear, Node
from deployq.qgraph.ranges import code_ranges
from deployq.qgraph.row_norms import rows_on_codes
from deployq.qgraph.shapes import Shape, infer_shapes, with_batch_one
from deployq.qtypes import QType
from deployq_targets.checks.stored_weights import StoredWeight, stored_weights

BORDERS = ("QuantizeLinear", "DequantizeLinear")

TYPES: Mapping[int, str] = {
    onnx.TensorProto.INT2: "s2", onnx.TensorProto.UINT2: "u2", onnx.TensorProto.INT4: "s4",
    onnx.TensorProto.UINT4: "u4", onnx.TensorProto.INT8: "s8", onnx.TensorProto.UINT8: "u8",
    onnx.TensorProto.INT16: "s16", onnx.TensorProto.UINT16: "u16", onnx.TensorProto.INT32: "s32",
}  # fmt: skip
"""ONNX element types of codes, as profiles spell them."""


@dataclass(frozen=True, eq=False)
class Border:
    """One QuantizeLinear or DequantizeLinear as it stands in the file.

    Args:
        node: its name.
        op_type: which of the two.
        tensor: name of its codes.
        scale: as stored; None where it is computed.
        zero_point: as stored; None where it is absent or computed.
        has_zero_point: whether the input is there.
        stored: whether the codes are an initializer.
        channels: extent of stored codes along the axis; None where that is not known.
    """

    node: str
    op_type: str
    tensor: str
    scale: npt.NDArray[Any] | None
    zero_point: npt.NDArray[Any] | None
    has_zero_point: bool
    stored: bool
    channels: int | None = None


@dataclass(frozen=True, eq=False)
class CheckedFile:
    """A model and what it says in integers.

    Args:
        model: with external data in memory.
        graph: its integer nodes, with all parameters as the file states them.
    """

    model: onnx.ModelProto
    graph: IntegerGraph

    @classmethod
    def of(
        cls, model: onnx.ModelProto, contract: Contract = QDQ, *, joins_sums: bool = False
    ) -> CheckedFile:
        """Read a model; what the contract has in integers is on codes.

        Args:
            joins_sums: see :func:`deployq.qgraph.read_graph`.

        Raises:
            DeployqError: as :func:`deployq.qgraph.read_graph`.
        """
        graph = read_graph(model, as_stated=True, joins_sums=joins_sums)
        return cls(model, rows_on_codes(graph, contract))

    @property
    def opset(self) -> int:
        """Of the standard operators."""
        stated = [o.version for o in self.model.opset_import if o.domain in ("", "ai.onnx")]
        return max(stated, default=1)

    @cached_property
    def constants(self) -> Mapping[str, onnx.TensorProto]:
        """Initializers and values of Constant nodes, by name."""
        found = {tensor.name: tensor for tensor in self.model.graph.initializer}
        for node in self.model.graph.node:
            for attribute in node.attribute if node.op_type == "Constant" else ():
                if attribute.name == "value":
                    found[node.output[0]] = attribute.t
        return found

    @cached_property
    def shapes(self) -> Mapping[str, Shape]:
        """With the batch bound to 1, as far as shape inference knows them."""
        return infer_shapes(with_batch_one(self.model), arithmetic=True)

    @cached_property
    def borders(self) -> tuple[Border, ...]:
        """Every QuantizeLinear and DequantizeLinear, in file order."""
        return tuple(self._borders())

    def _borders(self) -> Iterator[Border]:
        for node in self.model.graph.node:
            if node.op_type not in BORDERS:
                continue
            named = len(node.input) > 2 and bool(node.input[2])
            codes = node.output[0] if node.op_type == BORDERS[0] else node.input[0]
            yield Border(
                node.name or node.output[0], node.op_type, codes,
                self.array(node.input[1]), self.array(node.input[2]) if named else None,
                named, codes in self.constants, self._channels(node, codes),
            )  # fmt: skip

    def _channels(self, node: onnx.NodeProto, codes: str) -> int | None:
        dims = self.constants[codes].dims if codes in self.constants else ()
        axis = next((a.i for a in node.attribute if a.name == "axis"), 1)
        return dims[axis] if -len(dims) <= axis < len(dims) else None

    def array(self, name: str) -> npt.NDArray[Any] | None:
        """The value of an initializer, None for a computed tensor."""
        tensor = self.constants.get(name)
        return None if tensor is None else np.asarray(numpy_helper.to_array(tensor))

    @cached_property
    def makers(self) -> Mapping[str, Node]:
        """Integer node by the code tensor that it writes."""
        return {node.output: node for node in self.graph.nodes if node.writes_codes}

    @cached_property
    def readers(self) -> Mapping[str, tuple[Node, ...]]:
        """Integer nodes by the tensor that they read."""
        found: dict[str, list[Node]] = {}
        for node in self.graph.nodes:
            for name in dict.fromkeys(node.inputs):
                found.setdefault(name, []).append(node)
        return {name: tuple(nodes) for name, nodes in found.items()}

    def leaves(self, tensor: str) -> bool:
        """True where codes are an output of the network, as they are or as reals."""
        readers, outputs = self.readers.get(tensor, ()), set(self.graph.outputs)
        return tensor in outputs or any(reader.output in outputs for reader in readers)

    @cached_property
    def weights(self) -> tuple[StoredWeight, ...]:
        """What products read as their weights, in file order."""
        return tuple(stored_weights(self.model, self.constants))

    @cached_property
    def dequantized(self) -> frozenset[str]:
        """Reals that are read from computed codes."""
        return frozenset(n.output for n in self.graph.nodes if isinstance(n, Dequantize))

    def reads_codes(self, product: str) -> bool:
        """Whether the activations of the product of this name are codes."""
        return product in self._on_codes

    @cached_property
    def _on_codes(self) -> frozenset[str]:
        return frozenset(
            node.name for node in self.graph.nodes
            if isinstance(node, Linear)
            or (isinstance(node, Float) and not self.dequantized.isdisjoint(node.inputs[:1]))
        )  # fmt: skip

    @cached_property
    def activations(self) -> Mapping[str, QType]:
        """Computed code tensors and their types, in graph order."""
        names = [*self.graph.inputs, *(node.output for node in self.graph.nodes)]
        return {n: self.graph.qparams[n].qtype for n in names if n in self.graph.qparams}

    @cached_property
    def ranges(self) -> Mapping[str, Interval]:
        """Lowest and highest code that each tensor can hold."""
        return code_ranges(self.graph)
