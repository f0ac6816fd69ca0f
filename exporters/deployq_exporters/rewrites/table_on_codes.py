"""The table behind rows on a grid is stored as codes of that grid.

    Gather(reals) -> Grid(T)        becomes        T.table.codes -> DQ -> Gather -> Grid(T)

Rows are chosen, not computed, so the codes of the rows are the rows of the codes: nothing changes
but the size of the file, and a runtime may choose among codes. Exact.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from deployq import affine
from deployq.qparams import QParams
from deployq.qtypes import QType
from deployq_exporters.rewrites import typed_grids
from deployq_exporters.rewrites.rule import Rewrite, producer_of
from deployq_exporters.rewrites.typed_tensors import read_stored


def match(node: ir.Node) -> bool:
    if not typed_grids.match(node):
        return False
    gather = producer_of(node.inputs[0], "Gather")
    if gather is None or len(list(gather.outputs[0].uses())) > 1:
        return False
    table = gather.inputs[0]
    return table is not None and table.const_value is not None


def rewrite(graph: ir.Graph, node: ir.Node) -> None:
    gather = producer_of(node.inputs[0])
    assert gather is not None and gather.inputs[0] is not None
    value = gather.inputs[0].const_value
    assert value is not None
    grid = node.attributes
    qtype = QType.parse(grid["qtype"].as_string())
    scale, zero_point = np.float32(grid["scale"].as_float()), grid["zero_point"].as_int()
    params = QParams(qtype, np.asarray(scale), np.asarray(zero_point))
    codes = affine.quantize(value.numpy().astype(np.float32), params).astype(np.int64)
    name = f"{grid['tensor'].as_string()}.table"
    gather.replace_input_with(0, read_stored(graph, gather, name, codes, params))


RULE = Rewrite("table on codes", match, rewrite)
