"""Which constant of a file becomes which parameter, and which node which call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from deployq.graph.capture import NORM_TENSORS
from deployq.graph.onnx_import.names import Names
from deployq.graph.onnx_import.node import Array, OnnxNode
from deployq.graph.onnx_import.operators import OPERATORS
from deployq.graph.onnx_import.reading import OnnxGraph
from deployq.graph.onnx_import.sizes import SIZE_OPERATORS


@dataclass(frozen=True)
class Parameter:
    """An operand that is a parameter or buffer at ``path``."""

    path: str


Source: TypeAlias = str | Parameter | Array | None
"""A value by name, a parameter, a constant that stays a number, an input left out."""


@dataclass(frozen=True)
class Step:
    """A node with its path and where its operands come from."""

    node: OnnxNode
    path: str
    sources: tuple[Source, ...]


@dataclass
class Binding:
    """Everything that gets a name: inputs, steps and tensors by path."""

    arguments: Mapping[str, str]
    steps: list[Step] = field(default_factory=list)
    tensors: dict[str, Array] = field(default_factory=dict)


def bind(graph: OnnxGraph) -> Binding:
    """Name inputs, calls, normalizations and other tensors, in this order.

    Raises:
        UnsupportedError: a constant operand that is not float32.
    """
    names = Names()
    binding = Binding({entry.name: names.argument(entry.name) for entry in graph.inputs})
    paths = [names.call(node.name) for node in graph.nodes]
    norms = [
        _norm_sources(graph, node, path, names, binding)
        if node.op_type == "BatchNormalization"
        else None
        for node, path in zip(graph.nodes, paths, strict=True)
    ]
    shared: dict[str, Parameter] = {}
    for node, path, norm in zip(graph.nodes, paths, norms, strict=True):
        sources = norm or tuple(
            _source(graph, node, index, names, binding, shared) for index in range(len(node.inputs))
        )
        binding.steps.append(Step(node, path, sources))
    return binding


def _norm_sources(
    graph: OnnxGraph, node: OnnxNode, path: str, names: Names, binding: Binding
) -> tuple[Source, ...]:
    """A BatchNorm owns its four tensors: at the path that its initializers name, if they do."""
    given = node.inputs[1:5]
    for name in given:
        if name not in graph.constants:
            raise node.refuse("the statistics are constants", name, "initializers")
    owner = given[0].rpartition(".")[0]
    named = owner and given == tuple(f"{owner}.{leaf}" for leaf in NORM_TENSORS)
    holder = names.norm(owner if named else f"{path}.norm")
    for leaf, name in zip(NORM_TENSORS, given, strict=True):
        binding.tensors[f"{holder}.{leaf}"] = _float32(node, name, graph.constants[name])
    return (node.inputs[0], *(Parameter(f"{holder}.{leaf}") for leaf in NORM_TENSORS))


def _source(
    graph: OnnxGraph,
    node: OnnxNode,
    index: int,
    names: Names,
    binding: Binding,
    shared: dict[str, Parameter],
) -> Source:
    name = node.inputs[index]
    if not name or name not in graph.constants:
        return name or None
    array, operator = graph.constants[name], OPERATORS.get(node.op_type)
    number = operator is None or index in operator.static
    number = number or (index in operator.scalars and array.size == 1) if operator else number
    if number or (node.op_type in SIZE_OPERATORS and array.dtype.kind in "iub"):
        return array
    if name not in shared:
        shared[name] = Parameter(names.tensor(name))
        binding.tensors[shared[name].path] = _float32(node, name, array)
    return shared[name]


def _float32(node: OnnxNode, name: str, array: Array) -> Array:
    if array.dtype == np.float32:
        return array
    raise node.refuse(
        "weights are float32",
        f"{name} of {array.dtype}",
        "float32",
        "export the network in float32",
    )
