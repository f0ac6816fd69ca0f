"""What nodes give that write no codes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy.typing as npt
from torch import Tensor

from deployq import affine
from deployq.arithmetic.contract import Contract
from deployq.qgraph.nodes import Dequantize, Float, Linear, MatMul, Node
from deployq.qparams import QParams
from deployq.simulator.fit import MOST
from deployq.simulator.floats import compute_float
from deployq.simulator.linear_layers import linear_reals
from deployq.simulator.operators import product_reals

Array = npt.NDArray[Any]


def output_reals(
    node: Node,
    reals: Mapping[str, Array],
    codes: Mapping[str, Tensor],
    qparams: Mapping[str, QParams],
    contract: Contract,
    most: int = MOST,
) -> Array:
    """The output of an operator in float, of a product that ends in reals, or of a border.

    Args:
        node: one that writes no codes.
        reals, codes: of the tensors that it reads.
        most: elements that the output may have.
    """
    if isinstance(node, Float):
        return compute_float(node, [reals[name] for name in node.inputs], most)
    operands = [(codes[name], qparams[name]) for name in node.inputs]
    if isinstance(node, Linear):
        return linear_reals(node, *operands[0], contract).numpy()
    if isinstance(node, MatMul):
        return product_reals(node, operands, contract).numpy()
    assert isinstance(node, Dequantize), node
    ((read, grid),) = operands
    return affine.dequantize(read.numpy(), grid)
