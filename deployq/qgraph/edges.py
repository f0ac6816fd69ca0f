"""The edges of a graph: inputs and outputs that are codes, and what to feed them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from deployq import affine
from deployq.errors import InputError
from deployq.qgraph.nodes import Dequantize, IntegerGraph, Node, Rescale
from deployq.qparams import QParams

Array = npt.NDArray[Any]

CODES = ".codes"
"""A code tensor of a file is the tensor of this name without the suffix; an integer edge has none.
"""


def integer_inputs(graph: IntegerGraph) -> dict[str, QParams]:
    """Parameters of the graph inputs that are codes."""
    return {name: graph.qparams[name] for name in graph.inputs if name in graph.qparams}


def code_tensor(graph: IntegerGraph, tensor: str) -> str:
    """The file's name of a tensor's codes; at an integer edge it is the tensor's own."""
    return tensor if tensor + CODES not in graph.qparams else tensor + CODES


def output_codes(graph: IntegerGraph) -> list[str]:
    """The code tensor behind each graph output, in order."""
    sources = {n.output: n.inputs[0] for n in graph.nodes if isinstance(n, Dequantize)}
    return [sources.get(name, code_tensor(graph, name)) for name in graph.outputs]


def output_qparams(graph: IntegerGraph) -> dict[str, QParams]:
    """Parameters of the graph outputs that are codes, or reals of codes."""
    pairs = zip(graph.outputs, output_codes(graph), strict=True)
    return {name: graph.qparams[codes] for name, codes in pairs if codes in graph.qparams}


def feed(graph: IntegerGraph, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """What a file is fed: float32 goes by law 1 into the inputs that are codes, the rest as it is.

    Raises:
        InputError: an array for codes that is neither float32 nor codes of the input's range.
    """
    edges = integer_inputs(graph)
    return {
        name: as_codes(name, array, edges[name]) if name in edges else array
        for name, array in inputs.items()
    }


def as_codes(name: str, array: Array, qparams: QParams) -> Array:
    """Codes in the edge's NumPy type, of reals (law 1) or of codes.

    Raises:
        InputError: another type, or codes out of range.
    """
    if array.dtype == np.float32:
        return affine.quantize(array, qparams)
    check_codes(name, array, qparams)
    return array


def check_codes(name: str, array: Array, qparams: QParams) -> None:
    """Refuse what is no array of an edge's codes.

    Raises:
        InputError: another type, or codes out of range.
    """
    qtype = qparams.qtype
    step = f"give float32, which is quantized, or save codes as numpy.{qtype.dtype}"
    found = str(array.dtype)
    if array.dtype == qtype.dtype:
        low, high = int(array.min(initial=0)), int(array.max(initial=0))
        if qtype.qmin <= low and high <= qtype.qmax:
            return
        found = f"codes {low}..{high}"
    elif array.dtype == np.uint8 and qtype.signed and qtype.bits == 8:
        step = f"a pixel p is code p - {-qtype.qmin}: save (array ^ 128).view(numpy.int8)"
    raise InputError(
        f"input {name}",
        "this input takes codes of its type, or float32",
        found=found,
        allowed=f"{qtype.dtype} in {qtype.qmin}..{qtype.qmax}, or float32",
        next_step=step,
    )


def with_ranges(graph: IntegerGraph, grids: Mapping[str, QParams]) -> IntegerGraph:
    """The graph with the ranges of its integer inputs, which a container does not state.

    Args:
        grids: by tensor; one that is no integer input of the same scale and zero point is ignored.
    """
    stated = {
        name: grids[name]
        for name, qparams in integer_inputs(graph).items()
        if name in grids and grids[name].qtype.signed == qparams.qtype.signed
        and (grids[name].scale, grids[name].zero_point) == (qparams.scale, qparams.zero_point)
    }  # fmt: skip
    return replace(graph, qparams={**graph.qparams, **stated})


def changes_container(graph: IntegerGraph, node: Node) -> bool:
    """True for codes that move to another container of the same scale: no arithmetic."""
    if not isinstance(node, Rescale):
        return False
    return bool(graph.qparams[node.inputs[0]].scale == graph.qparams[node.output].scale)
