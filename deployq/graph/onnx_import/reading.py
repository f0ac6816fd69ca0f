"""An ONNX file as a list of nodes and a dictionary of constants, checked and folded."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
from onnx import inliner, numpy_helper

from deployq.errors import InputError, UnsupportedError
from deployq.graph.onnx_guard import load_onnx
from deployq.graph.onnx_import.checks import check_float, check_operators
from deployq.graph.onnx_import.folding import fold_constants
from deployq.graph.onnx_import.node import Array, OnnxNode, read_node
from deployq.qgraph.opsets import check_opset


@dataclass(frozen=True)
class GraphInput:
    """An input of the file.

    Args:
        name: as in the file.
        shape: the batch first; None for a free dimension.
    """

    name: str
    shape: tuple[int | None, ...]


@dataclass
class OnnxGraph:
    """What is left of a file to compute when everything constant is folded.

    Args:
        where: the file, for messages.
        inputs, outputs: of the graph.
        nodes: in the order of computation; each is needed by an output.
        constants: by value name.
    """

    where: str
    inputs: tuple[GraphInput, ...]
    outputs: tuple[str, ...]
    nodes: list[OnnxNode]
    constants: dict[str, Array] = field(default_factory=dict)

    def uses(self, name: str) -> int:
        """How often a value is read, as an output of the graph too."""
        return sum(node.inputs.count(name) for node in self.nodes) + self.outputs.count(name)


def read_onnx(path: Path, known: Collection[str]) -> OnnxGraph:
    """Open, check and fold a float ONNX file.

    Args:
        path: opened through the guard of :func:`deployq.graph.onnx_guard.load_onnx`.
        known: operators that can be imported.

    Raises:
        InputError: unreadable, quantized already, or inputs that are no float32 batches.
        UnsafeFileError: external data outside the file's folder.
        UnsupportedError: unknown operators (all of them at once), opset, or tensor forms.
    """
    model, where = load_onnx(path), str(path)
    opset = check_opset(where, model)
    check_float(where, [*model.graph.node, *(n for f in model.functions for n in f.node)])
    if model.functions:
        model = inliner.inline_local_functions(model)
    if model.graph.sparse_initializer:
        raise UnsupportedError(
            where,
            "weights are dense tensors",
            found=f"{len(model.graph.sparse_initializer)} sparse initializers",
            allowed="dense initializers",
            next_step="save the model with dense weights",
        )
    protos = _needed(model.graph)
    check_operators(where, opset, protos, known)
    constants = {t.name: np.asarray(numpy_helper.to_array(t)) for t in model.graph.initializer}
    inputs = tuple(
        _graph_input(where, value) for value in model.graph.input if value.name not in constants
    )
    rest = fold_constants(protos, constants, opset)
    outputs = tuple(value.name for value in model.graph.output)
    free = any(entry.shape[0] is None for entry in inputs)
    nodes = [read_node(proto, opset, free) for proto in rest]
    return OnnxGraph(where, inputs, outputs, nodes, constants)


def _needed(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """The nodes that an output depends on."""
    wanted, kept = {value.name for value in graph.output}, []
    for node in reversed(graph.node):
        if wanted.intersection(node.output):
            kept.append(node)
            wanted.update(node.input)
    return kept[::-1]


def _graph_input(where: str, value: onnx.ValueInfoProto) -> GraphInput:
    tensor = value.type.tensor_type
    shape = tuple(d.dim_value or None for d in tensor.shape.dim)
    kind = onnx.TensorProto.DataType.Name(tensor.elem_type)
    faults = {
        f"elements of type {kind}": tensor.elem_type != onnx.TensorProto.FLOAT,
        "no shape": not tensor.HasField("shape"),
        "rank 0": not shape,
        f"a batch fixed to {shape[0] if shape else 0}": bool(shape) and shape[0] not in (None, 1),
    }
    found = next((text for text, wrong in faults.items() if wrong), "")
    if found:
        raise InputError(
            f"{where}: input {value.name}",
            "an input is a float32 tensor whose first dimension is the batch, free or 1",
            found=found,
            allowed="float32 (batch, ...)",
            next_step="export the model again with float32 inputs and a dynamic batch",
        )
    return GraphInput(value.name, shape)
