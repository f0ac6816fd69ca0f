"""Walk an ONNX file once, in order, and turn each operator on codes into an integer node."""

from __future__ import annotations

import onnx

from deployq.errors import InputError, QuantizationError, UnsupportedError
from deployq.qgraph import clamp, floats, folding, linear, movement, operators, qdq, qoperator
from deployq.qgraph.nodes import IntegerGraph
from deployq.qgraph.shapes import skeleton, strict_shapes
from deployq.qgraph.soundness import check_sound
from deployq.qgraph.values import (
    CodesOf,
    QuantizedConstant,
    Real,
    RealOf,
    describe,
    located,
    where,
)
from deployq.qgraph.walk import Handler, Walk

HANDLERS: dict[tuple[str, str], Handler] = {
    **folding.HANDLERS,
    **qdq.HANDLERS,
    **clamp.HANDLERS,
    **linear.HANDLERS,
    **operators.HANDLERS,
    **movement.HANDLERS,
    **qoperator.HANDLERS,
}
"""(domain, operator) to the function that reads it."""


def read_graph(
    model: onnx.ModelProto, *, as_stated: bool = False, joins_sums: bool = False
) -> IntegerGraph:
    """The integer nodes of a QDQ or QOperator model (opsets 7 to 26).

    Operators without an integer form, those that read reals or plain float weights, and those
    whose reals another operator reads without a QuantizeLinear become
    :class:`~deployq.qgraph.nodes.Float` nodes.

    Constants are folded as far as scales, shapes, weights and limits need it. A float bias is
    rounded to int32 codes of scale ``s_x * s_w``.

    Args:
        model: with its external data in memory.
        as_stated: keep parameters that no arithmetic here computes with: several scales of an
            activation, weights in blocks or along another axis, biases on a scale or with a zero
            point of their own. For looking at a file; such a graph cannot be run.
        joins_sums: a sum of codes and a layer without codes is part of the layer, as on targets
            that say so (``graph.residual``); otherwise both run in float.

    Raises:
        UnsupportedError: a node has neither an integer form nor a float one; the message names
            it.
        InputError: the graph is not in order, or a node's attributes contradict its operator.
        QuantizationError: a node's scale or zero point is none.
    """
    check_sound(model)
    walk = Walk(model, as_stated=as_stated, joins_sums=joins_sums)
    strict_shapes(skeleton(model), "the model")
    for node in model.graph.node:
        try:
            _read(walk, node)
        except (InputError, QuantizationError) as error:
            raise located(error, where(node)) from error
    for value in model.graph.output:
        _add_output(walk, value.name)
    _check_parameters(walk)
    return IntegerGraph(
        tuple(walk.nodes), walk.qparams, walk.inputs,
        tuple(value.name for value in model.graph.output), walk.constants,
    )  # fmt: skip


def _read(walk: Walk, node: onnx.NodeProto) -> None:
    if folding.fold(walk, node):
        return
    floats.settle_in_float(walk, node)
    key = ("" if node.domain == "ai.onnx" else node.domain, node.op_type)
    if floats.runs_in_float(walk, node, HANDLERS.get(key)):
        floats.read_float(walk, node)
    else:
        HANDLERS[key](walk, node)


def _add_output(walk: Walk, name: str) -> None:
    """Codes stay; reals read from codes get their Dequantize; others were made in float."""
    floats.settle_tensor(walk, name)
    value = walk.values.get(name)
    if isinstance(value, CodesOf | Real):
        return
    if not isinstance(value, RealOf | QuantizedConstant):
        raise UnsupportedError(
            f"graph output {name}",
            "an output is codes, or reals",
            found=describe(value),
            next_step="add QuantizeLinear and DequantizeLinear before the output",
        )
    codes = value.codes if isinstance(value, RealOf) else walk.add_codes(name, value)
    walk.dequantize(name, codes)


def _check_parameters(walk: Walk) -> None:
    for node in walk.nodes:
        if node.writes_codes and node.output not in walk.qparams:
            raise UnsupportedError(
                f"node {node.name} ({node.op_type})",
                "codes have a scale and a zero point",
                found=f"{node.output}, which no DequantizeLinear reads",
                next_step="add the DequantizeLinear that reads them",
            )
