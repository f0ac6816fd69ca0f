"""From a float ``.onnx`` file to a captured graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias

import torch
from torch import Tensor, fx

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

Shapes: TypeAlias = Callable[[], Mapping[str, tuple[int, ...]]]
"""Gives the shapes of the data's arrays, by name."""


def import_onnx(path: Path, shapes: Shapes = dict) -> fx.GraphModule:
    """Capture a float ONNX file, opsets 7 to 26, with a free batch.

    Args:
        path: the file; a batch of exactly 1 in it is taken as a free one.
        shapes: gives the shapes of the data, by input; asked for what the other free dimensions
            are, if there are any.

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
    examples = [_example(graph, entry, shapes) for entry in graph.inputs]
    captured = capture(to_module(graph, binding), examples)
    _name_after_nodes(captured)
    return captured


def _example(graph: OnnxGraph, entry: GraphInput, shapes: Shapes) -> Tensor:
    shape = entry.shape
    if None in shape[1:]:
        shape = _shape_in(graph, entry, shapes)
    return torch.zeros(2, *(size or 0 for size in shape[1:]))


def _shape_in(graph: OnnxGraph, entry: GraphInput, shapes: Shapes) -> tuple[int | None, ...]:
    """The shape of the input's array, where the file leaves dimensions open."""
    known = shapes()
    shape = known.get(entry.name, known.get("x") if len(graph.inputs) == 1 else None)
    if shape is None or len(shape) != len(entry.shape):
        given = "no array of it" if shape is None else f"{shape}"
        raise InputError(
            f"{graph.where}: input {entry.name}",
            "the data states the dimensions that the file leaves open",
            found=f"{entry.shape} in the file, {given} in the data",
            allowed="an array of the input's name and rank",
            next_step=f"add {entry.name} to the data",
        )
    return shape


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
