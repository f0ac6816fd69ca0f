"""Shapes of every code tensor for one sample: the network is run once, on zeros."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from deployq.arithmetic.contract import QDQ
from deployq.qgraph import IntegerGraph
from deployq.qgraph.sizes import with_reals
from deployq.simulator import run_graph
from deployq.simulator.fit import check_size


def code_shapes(
    model: onnx.ModelProto,
    graph: IntegerGraph,
    sample: Mapping[str, npt.NDArray[Any]] | None = None,
) -> dict[str, tuple[int, ...]] | None:
    """Code tensor to its shape for a batch of one, constants and the reals of products included.

    None where an input leaves a dimension free that is not its first, and no sample says how long
    it is. A first dimension that the file fixes stays as it is.

    Args:
        sample: what to run instead of zeros, one sample by input.

    Raises:
        InputError: the sizes that the file declares do not fit its operators.
    """
    sample = _zeros(model, graph) if sample is None else sample
    if sample is None:
        return None
    computed = run_graph(graph, QDQ, sample).codes
    shapes = {name: tuple(codes.shape) for name, codes in computed.items()}
    return with_reals(graph, shapes | {n: codes.shape for n, codes in graph.constants.items()})


def canonical_shapes(model: onnx.ModelProto, graph: IntegerGraph) -> dict[str, tuple[int, ...]]:
    """:func:`code_shapes` of a canonical file, which leaves the batch free, and nothing else."""
    shapes = code_shapes(model, graph)
    assert shapes is not None
    return shapes


def _zeros(model: onnx.ModelProto, graph: IntegerGraph) -> dict[str, npt.NDArray[Any]] | None:
    """Real zeros, or the codes of zero where an input takes codes."""
    found = {}
    for value in (value for value in model.graph.input if value.name in graph.inputs):
        declared = value.type.tensor_type
        sizes = [dim.dim_value for dim in declared.shape.dim]
        if not all(sizes[1:]) or not declared.HasField("shape"):
            return None
        check_size(f"input {value.name}", (sizes[0] or 1, *sizes[1:]) if sizes else ())
        shape = [sizes[0] or 1, *sizes[1:]] if sizes else []
        dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(declared.elem_type))
        codes = graph.qparams.get(value.name)
        fill = 0 if codes is None else int(codes.zero_point.flat[0])
        found[value.name] = np.full(shape, fill, dtype if codes is None else codes.qtype.dtype)
    return found
