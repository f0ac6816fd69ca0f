"""A nearest Resize to sizes that are no whole factors becomes two Gathers of codes.

    q -> DQ -> Resize(sizes) -> Q        becomes        q -> Gather(rows) -> Gather(columns)

ONNX Runtime 1.31 does not load such a Resize of sizes along axes (2, 3) where it puts channels
last. The cells are those of the canonical form, ``floor(i length / size)``.
"""

from __future__ import annotations

import onnx_ir as ir

from deployq.arithmetic.oracle.resize import nearest_index
from deployq_exporters.rewrites.between_codes import grid_around, put_on_codes
from deployq_exporters.rewrites.rule import Rewrite, constant, initializer_array

SIZES = 3
"""Place among the inputs."""
AXES = (2, 3)


def match(node: ir.Node) -> bool:
    if node.op_type != "Resize" or len(node.inputs) <= SIZES or grid_around(node) is None:
        return False
    mode, axes = node.attributes.get("mode"), node.attributes.get("axes")
    if mode is None or mode.as_string() != "nearest" or axes is None:
        return False
    return tuple(axes.as_ints()) == AXES and initializer_array(node.inputs[SIZES]) is not None


def rewrite(graph: ir.Graph, node: ir.Node) -> None:
    source, sizes = node.inputs[0], initializer_array(node.inputs[SIZES])
    codes = source.producer().inputs[0]  # type: ignore[union-attr] # match saw it
    assert source is not None and source.shape is not None and sizes is not None
    gathers: list[ir.Node] = []
    for axis, size in zip(AXES, sizes.tolist(), strict=True):
        name = f"{node.name}.axis_{axis}"
        cells = nearest_index(int(source.shape[axis]), size)  # type: ignore[arg-type] # a picture's
        index = constant(graph, f"{name}.cells", cells, ir.DataType.INT64)
        read = gathers[-1].outputs[0] if gathers else codes
        gathers.append(ir.node("Gather", [read, index], {"axis": axis}, name=name))
    between = gathers[0].outputs[0]
    between.name, between.type = f"{node.name}.rows", codes.type if codes else None
    put_on_codes(graph, node, gathers)


RULE = Rewrite("resize to gather", match, rewrite)
