"""Elementwise operators, pools, Concat and functions of one variable on dequantized tensors."""

from __future__ import annotations

import math

import onnx

from deployq.arithmetic.oracle.lookup import UnaryParams
from deployq.qgraph.joined_sums import join_sum
from deployq.qgraph.linear import add_bias
from deployq.qgraph.nodes import Concat, Elementwise, Lookup, Pool, Softmax
from deployq.qgraph.values import attributes, label, refuse
from deployq.qgraph.walk import PENDING, Handler, Walk
from deployq.qgraph.windows import pool_geometry

FUNCTIONS = (
    "LeakyRelu", "Sigmoid", "Tanh", "HardSigmoid", "HardSwish", "Elu", "Gelu", "Mish",
)  # fmt: skip


def _elementwise(walk: Walk, node: onnx.NodeProto) -> None:
    if node.op_type == "Add" and (add_bias(walk, node) or join_sum(walk, node)):
        return
    inputs = (walk.operand(node, 0), walk.operand(node, 1))
    made = Elementwise(name=label(node), op_type=node.op_type, inputs=inputs, output=PENDING)
    walk.wait(node, made)


def _average_pool(walk: Walk, node: onnx.NodeProto) -> None:
    geometry = None if node.op_type == "GlobalAveragePool" else pool_geometry(walk, node)
    made = Pool(
        name=label(node), op_type=node.op_type, inputs=(walk.operand(node, 0),), output=PENDING,
        geometry=geometry,
    )  # fmt: skip
    walk.wait(node, made)


def _max_pool(walk: Walk, node: onnx.NodeProto) -> None:
    geometry = pool_geometry(walk, node)
    made = Pool(name=label(node), op_type="MaxPool", inputs=(), output=PENDING, geometry=geometry)
    walk.place(node, made)


def _concat(walk: Walk, node: onnx.NodeProto) -> None:
    axis = attributes(node)["axis"]
    made = Concat(name=label(node), op_type="Concat", inputs=(), output=PENDING, axis=axis)
    walk.place(node, made, operands=len(node.input))


def _function(walk: Walk, node: onnx.NodeProto) -> None:
    facts = attributes(node)
    stated = [facts[key] for key in ("alpha", "beta") if key in facts]
    if not all(map(math.isfinite, stated)):
        raise refuse(node, "slopes, limits and offsets are finite", str(stated))
    made = Lookup(
        name=label(node), op_type=node.op_type, inputs=(walk.operand(node, 0),), output=PENDING,
        params=UnaryParams(
            alpha=facts.get("alpha"), beta=facts.get("beta"),
            approximate=facts.get("approximate", "none"),
        ),
    )  # fmt: skip
    walk.wait(node, made)


def _softmax(walk: Walk, node: onnx.NodeProto) -> None:
    made = Softmax(
        name=label(node), op_type="Softmax", inputs=(walk.operand(node, 0),), output=PENDING
    )
    walk.wait(node, made)


HANDLERS: dict[tuple[str, str], Handler] = {
    ("", "Add"): _elementwise,
    ("", "Mul"): _elementwise,
    ("", "AveragePool"): _average_pool,
    ("", "GlobalAveragePool"): _average_pool,
    ("", "MaxPool"): _max_pool,
    ("", "Concat"): _concat,
    ("", "Softmax"): _softmax,
    **{("", op): _function for op in FUNCTIONS},
}
