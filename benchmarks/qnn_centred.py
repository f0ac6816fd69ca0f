"""Biases that take back what a short product drops of the sums below it."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper

from deployq.arithmetic.contract import Contract
from deployq.arithmetic.multiplier import choose_fixed
from deployq.arithmetic.scales import layer_multiplier
from deployq.qgraph import IntegerGraph, read_graph
from deployq.qgraph.nodes import Linear
from deployq.qparams import IntArray


def centred(model: onnx.ModelProto, contract: Contract) -> onnx.ModelProto:
    """A copy with half of the dropped bits' reach added to each bias.

    A form with a ``post_shift`` drops the ``k`` lowest bits of a sum, rounded down: on average
    ``(2**k - 1) / 2`` steps, always to the same side. A bias ``2**(k - 1)`` higher makes that a
    rounding half up.

    Args:
        model: a QDQ file whose layers have int32 biases.
        contract: whose forms drop bits.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    graph = read_graph(copy)
    layers = {n.output: n for n in graph.nodes if isinstance(n, Linear)}
    stored = {tensor.name: tensor for tensor in copy.graph.initializer}
    made = {name: node for node in copy.graph.node for name in node.output}
    readers = {name: node for node in copy.graph.node for name in node.input}
    for layer in layers.values():
        raised = _dropped(layer, graph, contract)
        operator = made[made[layer.output].input[0]]
        while operator.op_type not in ("Conv", "Gemm"):  # a clamp behind it
            operator = made[operator.input[0]]
        bias = stored[made[operator.input[2]].input[0]]
        assert readers[bias.name].output[0] == operator.input[2]
        codes = numpy_helper.to_array(bias) + raised
        bias.CopyFrom(numpy_helper.from_array(codes.astype(np.int32), bias.name))
    return copy


def _dropped(layer: Linear, graph: IntegerGraph, contract: Contract) -> IntArray:
    """(O,) what the biases gain."""
    form = contract.form(layer.form_name)
    none = np.zeros(len(layer.bias) if layer.bias is not None else 1, np.int64)
    if form.post_shift is None:
        return none
    x, y = graph.qparams[layer.inputs[0]], graph.qparams[layer.output]
    real = layer_multiplier(1, 0, x.scale[()], layer.weight_qparams.scale, y, form)
    first = choose_fixed(real, form).shift - form.post_shift
    return none + np.where(first > 0, np.int64(1) << np.maximum(first - 1, 0), 0)
