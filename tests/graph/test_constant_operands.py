"""Tensors of the model beside computed ones: integer operators read codes, all others the reals."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, fx, nn

from deployq.errors import UnsupportedError
from deployq.graph.capture import capture
from deployq.graph.codes import evaluate_codes
from deployq.graph.preparation import PreparedModel
from deployq.graph.rewrites.build import aten
from deployq_calibration import calibrate_model
from tests.graph.networks import Net, prepared_for

WIDTH = 6


def samples(count: int) -> Tensor:
    return torch.randn(count, 4, WIDTH, generator=torch.Generator().manual_seed(count))


def graph_of(body: Any, **children: Any) -> fx.GraphModule:
    torch.manual_seed(0)
    return capture(Net(body, a=nn.Linear(WIDTH, WIDTH), **children).eval(), [samples(2)])


def ready(graph: fx.GraphModule) -> PreparedModel:
    prepared = prepared_for(graph, "ort-cpu")
    calibrate_model(prepared, lambda: [(samples(8),)])
    return prepared


def reads_codes(prepared: PreparedModel) -> dict[str, bool]:
    """Whether each product reads the constant ``v`` through a quantizer."""
    found = {}
    for node in prepared.module.graph.nodes:
        if node.target in (aten.mul.Tensor, aten.exp.default, aten.matmul.default):
            operand = node.all_input_nodes[-1]
            while operand.op == "call_function":
                operand = operand.all_input_nodes[0]
            found[str(node.target).split(".")[1]] = operand.op == "call_module"
    return found


def test_an_operator_in_float_reads_the_reals() -> None:
    graph = graph_of(lambda m, x: (m.a(x) * m.v, m.a(x) @ m.v), v=nn.Parameter(torch.randn(WIDTH)))
    prepared = ready(graph)
    assert reads_codes(prepared) == {"mul": True, "matmul": False}
    assert prepared.plan.floats == (
        "matmul: float, deployq has no integer form of MatMul with these operands",
    )


def test_a_moved_constant_is_moved_twice_for_readers_of_both_kinds() -> None:
    graph = graph_of(lambda m, x: (m.a(x) * m.v, torch.exp(x)), v=nn.Parameter(torch.randn(WIDTH)))
    read = next(n for n in graph.graph.nodes if n.target == "v")
    product, exponential = (
        next(n for n in graph.graph.nodes if n.target is target)
        for target in (aten.mul.Tensor, aten.exp.default)
    )
    with graph.graph.inserting_after(read):
        moved = graph.graph.call_function(aten.unsqueeze.default, (read, 0))
    moved.meta = {"val": read.meta["val"].unsqueeze(0), "name": "moved"}
    product.replace_input_with(read, moved)
    exponential.replace_input_with(exponential.all_input_nodes[0], moved)
    graph.recompile()
    assert reads_codes(ready(graph)) == {"mul": True, "exp": False}


def test_a_number_in_a_tensor_without_axes_is_a_constant() -> None:
    prepared = ready(graph_of(lambda m, x: m.a(x) * m.v, v=nn.Parameter(torch.tensor(0.7))))
    assert [grid.constants for grid in prepared.plan.tensors if grid.constants] == [("v",)]
    codes = evaluate_codes(prepared, prepared.profile.contract(), samples(3))
    assert codes["mul"].shape == (3, 4, WIDTH)


def test_a_vector_is_refused_where_nothing_runs_in_float() -> None:
    graph = graph_of(lambda m, x: m.a(x) @ m.v, v=nn.Parameter(torch.randn(WIDTH)))
    with pytest.raises(UnsupportedError, match=r"(?s)matmul: .*no integer form of MatMul.*next:"):
        prepared_for(graph, "int8-npu")
