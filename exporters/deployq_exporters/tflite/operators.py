"""ADD, MUL, pools, MEAN, CONCATENATION, QUANTIZE and functions of one value."""

from __future__ import annotations

from typing import Any

from deployq.arithmetic.oracle.lookup import LEAKY_ALPHA
from deployq.qgraph.nodes import Concat, Elementwise, Lookup, Node, Pool, Rescale
from deployq_exporters.tflite.fixed_grids import check_fixed_grid
from deployq_exporters.tflite.layout import onnx_axes
from deployq_exporters.tflite.refusals import refuse
from deployq_exporters.tflite.signed import S8
from deployq_exporters.tflite.windows import Window, check_inside, padded
from deployq_exporters.tflite.writing import Writing

FUNCTIONS = {"Sigmoid": ("LOGISTIC", (1 / 256, -128)), "Tanh": ("TANH", (1 / 128, 0))}
"""ONNX operator to TFLite's, with the scale and zero point of its output."""
STEPS = {"LeakyRelu": "LEAKY_RELU", "HardSwish": "HARD_SWISH", "Gelu": "GELU"}
"""Functions that LiteRT computes from any grid to any other, by steps of its own."""


def write_elementwise(writing: Writing, node: Elementwise) -> None:
    """ADD or MUL of two tensors of as many axes; constants gain axes in front."""
    schema, constants = writing.file.schema, writing.graph.constants
    ranks = {len(writing.shapes[name]) for name in node.inputs if name not in constants}
    if len(ranks) > 1:
        raise refuse(
            node,
            "operands that are computed have as many axes as each other",
            found=", ".join(str(writing.shapes[name]) for name in node.inputs),
            next_step="reshape the smaller one before it",
        )
    rank = len(writing.shapes[node.output])
    options: Any = schema.AddOptionsT() if node.op_type == "Add" else schema.MulOptionsT()
    if node.op_type == "Add":
        options.potScaleInt16 = False
    operands = [writing.operand(name, rank) for name in node.inputs]
    writing.emit(node, node.op_type.upper(), operands, options)


def write_pool(writing: Writing, node: Pool) -> None:
    """AVERAGE_POOL_2D, MAX_POOL_2D, or MEAN over rows and columns.

    Raises:
        UnsupportedError: a pool of windows between two grids, or padding cells that an average
            leaves out where SAME has others.
    """
    if node.geometry is None:
        _write_mean(writing, node)
        return
    same_grid(writing, node, node.inputs)
    geometry, options = node.geometry, writing.file.schema.Pool2DOptionsT()
    counts = geometry.count_include_pad
    window = Window(geometry.kernel, geometry.strides, geometry.pads, counts_pads=counts)
    fill = None
    if node.op_type == "MaxPool":
        fill = writing.qparams(node.output).qtype.qmin
    elif not counts:
        check_inside(writing, node, window)
    index, options.padding = padded(writing, node, window, fill)
    options.strideH, options.strideW = geometry.strides
    options.filterHeight, options.filterWidth = geometry.kernel
    code = "MAX_POOL_2D" if node.op_type == "MaxPool" else "AVERAGE_POOL_2D"
    writing.emit(node, code, [index], options)


def _write_mean(writing: Writing, node: Pool) -> None:
    options = writing.file.schema.ReducerOptionsT()
    options.keepDims = True
    axes = writing.integers(f"{node.output}.axes", (1, 2))
    writing.emit(node, "MEAN", [writing.operand(node.inputs[0]), axes], options)


def write_concat(writing: Writing, node: Concat) -> None:
    """CONCATENATION, which moves codes between equal grids only."""
    same_grid(writing, node, node.inputs)
    rank = len(writing.shapes[node.output])
    options = writing.file.schema.ConcatenationOptionsT()
    options.axis = onnx_axes(rank)[node.axis % rank]
    operands = [writing.operand(name) for name in node.inputs]
    writing.emit(node, "CONCATENATION", operands, options)


def write_rescale(writing: Writing, node: Rescale) -> None:
    """QUANTIZE from codes to codes; between equal grids nothing is left to do."""
    if writing.qparams(node.inputs[0]) == writing.qparams(node.output):
        writing.keep(node)
        return
    options: Any = writing.file.schema.QuantizeOptionsT()
    writing.emit(node, "QUANTIZE", [writing.operand(node.inputs[0])], options)


def write_lookup(writing: Writing, node: Lookup) -> None:
    """LOGISTIC or TANH, on the grid that LiteRT fixes, LEAKY_RELU, HARD_SWISH or GELU.

    Raises:
        UnsupportedError: another function, an output on another grid than LiteRT fixes, or codes of
            16 bits, whose tables and steps are others.
    """
    if node.op_type in FUNCTIONS:
        code, fixed = FUNCTIONS[node.op_type]
        check_fixed_grid(writing, node, code, fixed)
        options = None
    elif node.op_type in STEPS:
        code, options = STEPS[node.op_type], _options(writing, node)
    else:
        raise refuse(
            node,
            "a function has the codes that LiteRT computes",
            found=node.op_type,
            allowed=", ".join((*FUNCTIONS, *STEPS)),
        )
    writing.emit(node, code, [writing.operand(node.inputs[0])], options)


def _options(writing: Writing, node: Lookup) -> Any:
    qtype, schema = writing.qparams(node.output).qtype, writing.file.schema
    if qtype != S8:
        raise refuse(
            node,
            f"the steps of {STEPS[node.op_type]} are known for codes of 8 bits",
            found=str(qtype),
            allowed=str(S8),
            next_step="quantize activations to 8 bits",
        )
    if node.op_type == "HardSwish":
        return schema.HardSwishOptionsT()
    options: Any
    if node.op_type == "Gelu":
        options = schema.GeluOptionsT()
        options.approximate = node.params.approximate == "tanh"
        return options
    options = schema.LeakyReluOptionsT()
    options.alpha = LEAKY_ALPHA if node.params.alpha is None else node.params.alpha
    return options


def same_grid(writing: Writing, node: Node, inputs: tuple[str, ...]) -> None:
    """Refuse an operator that moves codes between grids.

    Raises:
        UnsupportedError: an input differs from the output in scale or zero point.
    """
    out = writing.qparams(node.output)
    for name in inputs:
        found = writing.qparams(name)
        if found != out:
            raise refuse(
                node,
                "inputs and output have one scale and zero point",
                found=f"{name}: {found.scale}, {found.zero_point}",
                allowed=f"{out.scale}, {out.zero_point}",
                next_step="share the parameters, as the profile's graph.same_qparams says",
            )
