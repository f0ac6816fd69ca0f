"""What goes into a bundle's files and comes out of them, in words for firmware and the manifest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import onnx

from deployq.graph.preparation import PreparedModel
from deployq.qgraph import IntegerGraph
from deployq.qgraph.edges import CODES
from deployq.qgraph.nodes import Move
from deployq.qparams import QParams


def edge_facts(
    prepared: PreparedModel, graph: IntegerGraph, files: Mapping[str, onnx.ModelProto]
) -> dict[str, dict[str, Any]]:
    """Every input and output, by name, as the files have it.

    ``kind`` is ``float``, ``integer`` (codes) or ``index`` (ids, on no grid). Codes state ``type``,
    the lowest and highest code as ``range``, ``scale`` (a float32 value) and ``zero_point``:
    ``real = (code - zero_point) * scale``. ``tensors`` is the ONNX type of the tensor by file.

    Args:
        prepared: knows ranges that do not fill their container.
        graph: what the first file says.
        files: by name; all have the same inputs and outputs.
    """
    models = {name: (_values(m.graph.input), _values(m.graph.output)) for name, m in files.items()}
    first, grids = next(iter(models.values())), prepared.grids()
    return {
        side: {
            edge: _fact(
                {file: types[index][edge] for file, types in models.items()},
                _qparams(edge, graph, grids),
            )
            for edge in first[index]
        }
        for index, side in enumerate(("inputs", "outputs"))
    }


def _values(values: Any) -> dict[str, int]:
    """Name to ONNX element type."""
    return {value.name: value.type.tensor_type.elem_type for value in values}


def _qparams(edge: str, graph: IntegerGraph, grids: Mapping[str, QParams]) -> QParams | None:
    """Parameters of an edge that is codes: those of the tensor that it is, or is moved from."""
    if edge not in graph.qparams:
        return None
    moves = {node.output: node.inputs[0] for node in graph.nodes if isinstance(node, Move)}
    name = edge
    while name.removesuffix(CODES) not in grids and name in moves:
        name = moves[name]
    return grids.get(name.removesuffix(CODES), graph.qparams[edge])


def _fact(elements: Mapping[str, int], qparams: QParams | None) -> dict[str, Any]:
    tensors = {file: onnx.TensorProto.DataType.Name(kind) for file, kind in elements.items()}
    if qparams is not None:
        return {**grid_fact(qparams), "tensors": tensors}
    dtype = onnx.helper.tensor_dtype_to_np_dtype(next(iter(elements.values())))
    return {"kind": "float" if dtype.kind == "f" else "index", "tensors": tensors}


def grid_fact(qparams: QParams) -> dict[str, Any]:
    """Codes of one scale and zero point, as plain data."""
    qtype = qparams.qtype
    return {
        "kind": "integer",
        "type": qtype.name,
        "range": [qtype.qmin, qtype.qmax],
        "scale": float(qparams.scale),
        "zero_point": int(qparams.zero_point),
    }
