"""The integers of a prepared model: what lowering writes and the reference computes with."""

from __future__ import annotations

from dataclasses import dataclass

from torch import fx

from deployq.errors import UnsupportedError
from deployq.graph.batch_norm import LinearCodes
from deployq.graph.capture import read_tensor
from deployq.graph.fake_quantize import FakeQuantize
from deployq.graph.operators import is_movement
from deployq.graph.preparation import PreparedModel
from deployq.graph.units import QuantizedLinear
from deployq.qparams import QParams


@dataclass(frozen=True)
class LayerIntegers:
    """One linear layer ready for an integer runtime.

    Args:
        codes: weight and bias codes with the BatchNorm absorbed.
        input: parameters of the input's grid.
        weight: parameters of the weight codes after absorption.
    """

    codes: LinearCodes
    input: QParams
    weight: QParams


def layer_integers(prepared: PreparedModel) -> dict[str, LayerIntegers]:
    """The integers of every linear layer, by layer name, in graph order.

    Raises:
        UnsupportedError: a layer reads a tensor that is on no grid.
    """
    module, found = prepared.module, {}
    for node in module.graph.nodes:
        if node.op != "call_module":
            continue
        unit = module.get_submodule(str(node.target))
        if not isinstance(unit, QuantizedLinear):
            continue
        grid = grid_of(module, node.args[0])
        tensors = [None if arg is None else read_tensor(module, arg) for arg in node.args[1:]]
        assert tensors[0] is not None
        codes = unit.integers(grid.scale[()], tensors[0], *tensors[1:])
        name = str(node.meta["name"])
        found[name] = LayerIntegers(codes, grid, unit.weight_qparams(codes))
    return found


def grid_of(module: fx.GraphModule, node: fx.Node) -> QParams:
    """Parameters of the grid that a node's values are on."""
    source = node
    while is_movement(module, source):
        source = source.args[0]  # type: ignore[assignment] # the data operand is a node
    if source.op == "call_module":
        quantizer = module.get_submodule(str(source.target))
        if isinstance(quantizer, FakeQuantize):
            return quantizer.qparams()
    raise UnsupportedError(
        str(node.meta.get("name", node.name)), "an integer operator reads codes",
        found=f"the float output of {source.name}", next_step="prepare the model again",
    )

