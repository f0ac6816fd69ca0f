"""The shape of an integer node, in the words that ``[[op]]`` entries use."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

from deployq.arithmetic.geometry import ConvTransposeGeometry
from deployq.qgraph.nodes import Linear, Node, Pool
from deployq.qgraph.sizes import with_reals
from deployq_targets.checks.facts import CheckedFile
from deployq_targets.operator_shape import Extent, OperatorShape
from deployq_targets.words import Group

CONVOLUTIONS = ("Conv", "ConvTranspose")


def group_of(node: Node) -> Group:
    """Which entries speak of a node; everything but a convolution is of any group."""
    if not isinstance(node, Linear) or node.op_type not in CONVOLUTIONS:
        return Group.ANY
    groups = node.geometry.groups
    if groups == 1:
        return Group.DENSE
    return Group.DEPTHWISE if node.weight.shape[1] == 1 else Group.GROUPED


def operator_shape(file: CheckedFile, node: Node) -> OperatorShape | None:
    """The shape of a node; None where shape inference does not know an extent."""
    shapes = [_extents(file, name) for name in (*node.inputs, node.output)]
    if any(shape is None for shape in shapes):
        return None
    known = [shape for shape in shapes if shape is not None]
    channels_last = isinstance(node, Linear) and node.op_type not in CONVOLUTIONS
    inputs = tuple(_extent(shape, channels_last) for shape in known[:-1])
    dims = tuple(extent for shape in known for extent in shape)
    return OperatorShape(inputs, _extent(known[-1], channels_last), dims, **_window(node, inputs))


def sample_shapes(file: CheckedFile) -> dict[str, tuple[int, ...]] | None:
    """Code tensors, and what products return as reals, to their shapes for a batch of one; None
    where an extent is not known.
    """
    graph = file.graph
    found: dict[str, tuple[int, ...]] = {n: codes.shape for n, codes in graph.constants.items()}
    for name in file.activations:
        extents = _extents(file, name)
        if extents is None:
            return None
        found[name] = (1, *extents)
    return with_reals(graph, found)


def _extents(file: CheckedFile, tensor: str) -> tuple[int, ...] | None:
    """Extents without the batch; codes that only the reader names have those of their reals."""
    for name in (tensor, tensor.removesuffix(".codes"), tensor.removesuffix(".moved")):
        shape = file.shapes.get(name)
        if shape is not None:
            break
    else:
        return None
    extents = shape[1:]
    return tuple(int(e) for e in extents) if all(isinstance(e, int) for e in extents) else None


def _extent(shape: tuple[int, ...], channels_last: bool) -> Extent:
    """Of (C, H, W), (C, L) and (C,), or (..., C) of fully connected layers; a tail is width."""
    if channels_last and shape:
        shape = (shape[-1], *shape[:-1])
    c, *rest = shape or (1,)
    h, tail = (rest[0], rest[1:]) if len(rest) > 1 else (1, rest)
    return Extent(c, h, prod(tail))


def _window(node: Node, inputs: tuple[Extent, ...]) -> Mapping[str, Any]:
    if isinstance(node, Linear) and node.op_type in CONVOLUTIONS:
        geometry = node.geometry
        pads = (0, 0, 0, 0) if isinstance(geometry, ConvTransposeGeometry) else geometry.pads
        return {
            "kernel": tuple(node.weight.shape[2:]), "strides": geometry.strides,
            "dilations": geometry.dilations, "pads": pads,
        }  # fmt: skip
    if isinstance(node, Pool):
        if node.geometry is None:
            return {"kernel": (inputs[0].h, inputs[0].w)}
        pool = node.geometry
        return {"kernel": pool.kernel, "strides": pool.strides, "pads": pool.pads}
    return {}
