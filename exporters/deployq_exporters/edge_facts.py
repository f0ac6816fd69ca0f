"""What goes into a bundle's files and comes out of them, in words for firmware and the manifest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import onnx

from deployq.graph.preparation import PreparedModel
from deployq.qgraph.walk import ELEMENT_TYPES
from deployq.qparams import QParams


def edge_facts(
    prepared: PreparedModel, files: Mapping[str, onnx.ModelProto]
) -> dict[str, dict[str, Any]]:
    """Every input and output, by name, as the files have it.

    ``kind`` is ``float``, ``integer`` (codes) or ``index`` (ids, on no grid). Codes state ``type``,
    the lowest and highest code as ``range``, ``scale`` (a float32 value) and ``zero_point``:
    ``real = (code - zero_point) * scale``. ``tensors`` is the ONNX type of the tensor by file.

    Args:
        prepared: has the parameters.
        files: by name; all have the same inputs and outputs.
    """
    grids = prepared.grids()
    models = {name: (_values(m.graph.input), _values(m.graph.output)) for name, m in files.items()}
    first = next(iter(models.values()))
    return {
        side: {
            edge: _fact(edge, {file: types[index][edge] for file, types in models.items()}, grids)
            for edge in first[index]
        }
        for index, side in enumerate(("inputs", "outputs"))
    }


def _values(values: Any) -> dict[str, int]:
    """Name to ONNX element type."""
    return {value.name: value.type.tensor_type.elem_type for value in values}


def _fact(edge: str, elements: Mapping[str, int], grids: Mapping[str, QParams]) -> dict[str, Any]:
    tensors = {file: onnx.TensorProto.DataType.Name(kind) for file, kind in elements.items()}
    element = next(iter(elements.values()))
    if edge in grids and element in ELEMENT_TYPES:
        return {**grid_fact(grids[edge]), "tensors": tensors}
    dtype = onnx.helper.tensor_dtype_to_np_dtype(element)
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
