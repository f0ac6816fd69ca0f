"""From a float ``.onnx`` file to a captured graph."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, fx

from deployq.data import load_arrays
from deployq.errors import InputError
from deployq.graph.capture import capture
from deployq.graph.node_names import module_path
from deployq.graph.onnx_import.binding import bind
from deployq.graph.onnx_import.linear_layers import to_linear_layers
from deployq.graph.onnx_import.module import to_module
from deployq.graph.onnx_import.operators import OPERATORS
from deployq.graph.onnx_import.reading import GraphInput, OnnxGraph, read_onnx
from deployq.graph.onnx_import.sizes import SIZE_OPERATORS

KNOWN = (OPERATORS.keys() | SIZE_OPERATORS | {"Constant"}) - {"Linear"}
"""Operators that a file may have; some on sizes or constants only."""


def import_onnx(path: Path, data: Path | None = None) -> fx.GraphModule:
    """Capture a float ONNX file, opsets 7 to 26, with a free batch.

    Args:
        path: the file; a batch of exactly 1 in it is taken as a free one.
        data: an ``.npz`` that says what the other free dimensions are, if there are any.

    Returns:
        What :func:`deployq.graph.capture.capture` returns for a module: nodes are named after the
        ONNX nodes, parameters after the initializers.

    Raises:
        InputError: unreadable or quantized already, inputs that are no float32 batches, or free
            dimensions that the data does not state.
        UnsafeFileError: external data outside the file's folder.
        UnsupportedError: an operator, attribute or shape without a form here; the node is named.
    """
    graph = read_onnx(path, KNOWN)
    to_linear_layers(graph)
    binding = bind(graph)
    examples = [_example(graph, entry, data) for entry in graph.inputs]
    captured = capture(to_module(graph, binding), examples)
    _name_after_nodes(captured)
    return captured


def _example(graph: OnnxGraph, entry: GraphInput, data: Path | None) -> Tensor:
    shape = entry.shape
    if None in shape[1:]:
        shape = _shape_in(graph, entry, data)
    return torch.zeros(2, *(size or 0 for size in shape[1:]))


def _shape_in(graph: OnnxGraph, entry: GraphInput, data: Path | None) -> tuple[int | None, ...]:
    """The shape of the input's array, where the file leaves dimensions open."""
    arrays = {} if data is None else load_arrays(data)
    array = arrays.get(entry.name, arrays.get("x") if len(graph.inputs) == 1 else None)
    if array is None or array.ndim != len(entry.shape):
        given = "no array of it" if array is None else f"{array.shape}"
        raise InputError(
            f"{graph.where}: input {entry.name}",
            "the data states the dimensions that the file leaves open",
            found=f"{entry.shape} in the file, {given} in the data",
            allowed="an array of the input's name and rank",
            next_step=f"add {entry.name} to the .npz",
        )
    return tuple(array.shape)


def _name_after_nodes(captured: fx.GraphModule) -> None:
    """The call that makes a node's output bears the node's name; helpers before it add theirs."""
    groups: dict[str, list[fx.Node]] = {}
    for node in captured.graph.nodes:
        if node.op in ("call_function", "call_module") and module_path(node):
            groups.setdefault(module_path(node), []).append(node)
    taken = {str(n.meta["name"]) for n in captured.graph.nodes if n.op == "placeholder"}
    taken |= groups.keys()
    for path, (*helpers, last) in groups.items():
        last.meta["name"] = path
        for index, helper in enumerate(helpers):
            kind = str(getattr(helper.target, "__name__", "norm")).split(".")[0]
            name = f"{path}.{kind}"
            helper.meta["name"] = name if name not in taken else f"{name}_{index}"
            taken.add(helper.meta["name"])
