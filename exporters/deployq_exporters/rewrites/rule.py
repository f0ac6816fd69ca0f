"""The shape of a rewrite on the ONNX graph, and the driver that applies a list of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir


@dataclass(frozen=True)
class Rewrite:
    """One graph edit: pattern and guard in ``match``, replacement in ``rewrite``.

    Args:
        name: verb phrase for logs.
        match: whether the node is the root of the pattern and the guard holds.
        rewrite: edits the graph around the node.
    """

    name: str
    match: Callable[[ir.Node], bool]
    rewrite: Callable[[ir.Graph, ir.Node], None]


def apply(model: ir.Model, rules: Iterable[Rewrite]) -> dict[str, int]:
    """Apply rewrites in order, once each over the graph; how often each one matched."""
    counts = {}
    for rule in rules:
        matches = 0
        for node in list(model.graph):
            if node.graph is not None and rule.match(node):
                rule.rewrite(model.graph, node)
                matches += 1
        counts[rule.name] = matches
    return counts


def constant(graph: ir.Graph, name: str, array: Any, dtype: ir.DataType) -> ir.Value:
    """A named initializer; 2- and 4-bit types are packed when the file is written."""
    data = np.asarray(array).astype(dtype.numpy())
    value = ir.Value(
        name=name, const_value=ir.Tensor(data, dtype=dtype, name=name),
        type=ir.TensorType(dtype), shape=ir.Shape(data.shape),
    )  # fmt: skip
    graph.register_initializer(value)
    return value


def replace_node(
    graph: ir.Graph,
    old: ir.Node,
    op_type: str,
    inputs: Sequence[ir.Value | None],
    *,
    attributes: dict[str, Any] | None = None,
    name: str | None = None,
) -> ir.Value:
    """Put a standard operator where ``old`` is; its output takes over all uses."""
    new = ir.node(op_type, inputs, attributes or {}, name=name or old.name)
    old_output, output = old.outputs[0], new.outputs[0]
    output.name, output.type, output.shape = old_output.name, old_output.type, old_output.shape
    graph.insert_before(old, new)
    ir.convenience.replace_all_uses_with(old_output, output, replace_graph_outputs=True)
    graph.remove(old, safe=True)
    return output


def producer_of(value: ir.Value | None, *op_types: str) -> ir.Node | None:
    """The node that computes a value; None where there is none, or one of no stated type."""
    node = None if value is None else value.producer()
    return node if node is not None and (not op_types or node.op_type in op_types) else None


def remove_unread(graph: ir.Graph, node: ir.Node) -> None:
    """Remove a node whose only output nobody reads: no other node, and no caller of the graph."""
    output = node.outputs[0]
    if not output.uses() and not output.is_graph_output():
        graph.remove(node, safe=True)


def is_read_once(value: ir.Value | None) -> bool:
    """True for a value that one node reads, and that is no output of the graph."""
    return value is not None and not value.is_graph_output() and len(value.uses()) == 1


def grid(node: ir.Node) -> tuple[tuple[str, tuple[int, ...], bytes], ...] | None:
    """Scale and zero point of a QuantizeLinear or DequantizeLinear, with type and shape, to be
    compared; None where one is computed or not stated.
    """
    arrays = [initializer_array(value) for value in node.inputs[1:3]]
    if len(arrays) < 2 or any(array is None for array in arrays):
        return None
    return tuple((str(a.dtype), a.shape, a.tobytes()) for a in arrays if a is not None)


def initializer_array(value: ir.Value | None) -> np.ndarray[Any, Any] | None:
    """Data of a constant value, None for a computed one."""
    tensor = None if value is None else value.const_value
    return None if tensor is None else tensor.numpy()
