"""Nodes whose inputs are all constant, computed once by the reference evaluator of onnx."""

from __future__ import annotations

from collections.abc import Iterable, MutableMapping

import numpy as np
import onnx
from onnx import helper
from onnx.reference import ReferenceEvaluator

from deployq.errors import InputError
from deployq.graph.onnx_import.node import Array, read_node

MAX_ELEMENTS = 2**28
"""Of a folded tensor: 1 GiB of float32. A few bytes of a file can ask for any size."""


def fold_constants(
    nodes: Iterable[onnx.NodeProto], constants: MutableMapping[str, Array], opset: int
) -> list[onnx.NodeProto]:
    """Add what can be computed now to ``constants``; returns the other nodes, in order.

    Raises:
        InputError: a constant node that cannot be computed, or that makes a huge tensor.
    """
    rest: list[onnx.NodeProto] = []
    for node in nodes:
        if all(name in constants for name in node.input if name):
            constants.update(_evaluate(node, constants, opset))
        else:
            rest.append(node)
    return rest


def _evaluate(
    node: onnx.NodeProto, constants: MutableMapping[str, Array], opset: int
) -> dict[str, Array]:
    _refuse_huge(node, constants, opset)
    names = dict.fromkeys(name for name in node.input if name)
    inputs = [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(constants[n].dtype), None)
        for n in names
    ]
    wanted = [name for name in node.output if name]
    outputs = [onnx.ValueInfoProto(name=name) for name in wanted]
    graph = helper.make_graph([node], "constant", inputs, outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    try:
        results = ReferenceEvaluator(model).run(wanted, {name: constants[name] for name in names})
    except Exception as error:  # the evaluator raises what numpy raises, and more
        raise InputError(
            read_node(node, opset).where,
            "a node with constant inputs can be computed",
            found=f"{type(error).__name__}: {str(error).strip().splitlines()[:1]}"[:300],
            next_step="simplify the file, for example with onnxsim",
        ) from error
    return dict(zip(wanted, map(np.asarray, results), strict=True))


def _refuse_huge(node: onnx.NodeProto, constants: MutableMapping[str, Array], opset: int) -> None:
    """ConstantOfShape, Expand and Resize state the size of their result."""
    sizes = [constants[n] for n in node.input if n and constants[n].dtype.kind in "if"]
    growing = {"ConstantOfShape": 0, "Expand": 1, "Resize": 3, "Upsample": 1, "Pad": 1}
    index = growing.get(node.op_type)
    if index is None or index >= len(sizes):
        return
    elements = float(np.prod(np.maximum(sizes[index].astype(np.float64), 1)))
    if elements > MAX_ELEMENTS:
        raise InputError(
            read_node(node, opset).where,
            "a constant tensor has a reasonable size",
            found=f"{elements:.3g} elements",
            allowed=f"at most {MAX_ELEMENTS}",
            next_step="look at where the file comes from",
        )
