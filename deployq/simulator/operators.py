"""What each kind of integer node computes, in the contract's arithmetic."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from torch import Tensor

from deployq.arithmetic.codes import check_code_bits
from deployq.arithmetic.contract import Contract
from deployq.arithmetic.kernels import (
    concat,
    elementwise,
    lookup,
    pooling,
    row_norms,
    softmax,
)
from deployq.arithmetic.kernels.codes import torch_dtype
from deployq.arithmetic.kernels.requantize import fit_accumulator, real_sums, requantize
from deployq.errors import DeployqError, UnsupportedError
from deployq.qgraph.nodes import (
    Concat,
    Elementwise,
    Linear,
    Lookup,
    MatMul,
    Move,
    Node,
    Pool,
    Rescale,
    RowNormalization,
    Softmax,
)
from deployq.qgraph.values import located
from deployq.qparams import QParams
from deployq.simulator.biases import PlacedBias, placed_bias, summed_layer
from deployq.simulator.fit import MOST, check_fit
from deployq.simulator.fused_layers import fused_layer
from deployq.simulator.linear_layers import linear_codes
from deployq.simulator.movement import move
from deployq.simulator.sums import accumulate, accumulate_product

Operand: TypeAlias = tuple[Tensor, QParams]


def compute(
    node: Node, operands: Sequence[Operand], out: QParams, contract: Contract, most: int = MOST
) -> Tensor:
    """Codes of a node's output, inside its bounds, in the torch type of ``out``.

    Args:
        most: elements that the output may have (see :func:`deployq.simulator.fit.most_elements`).

    Raises:
        DeployqError: as :func:`deployq.simulator.run_graph`; the message names the node.
    """
    try:
        check_fit(node, [tuple(codes.shape) for codes, _ in operands], most)
        tensors = [qparams for _, qparams in operands]
        contract = contract.for_codes(*(q.qtype.bits for q in tensors))
        form = contract.form(node.form_name)
        check_code_bits(node.op_type, form, out, *tensors)
        codes = _COMPUTE[type(node)](node, operands, out, contract)
    except DeployqError as error:
        raise located(error, f"node {node.name} ({node.op_type})") from error
    if node.bounds is not None:
        codes = codes.clamp(*node.bounds)
    return codes.to(torch_dtype(out.qtype))


def _linear(node: Linear, operands: Sequence[Operand], out: QParams, contract: Contract) -> Tensor:
    (x, qx), *addend = operands
    if addend:
        acc, axis = accumulate(summed_layer(node, qx, contract), x, qx)
        scales = qx.scale[()], node.weight_qparams.scale
        return finish(node, acc, scales, axis, out, contract, addend[0])
    fused = fused_layer(node, x, qx, out, contract)
    if fused is not None:
        return fused.codes(x, qx, out, contract)
    return linear_codes(node, x, qx, out, contract)


def _matmul(node: MatMul, operands: Sequence[Operand], out: QParams, contract: Contract) -> Tensor:
    (a, qa), (b, qb) = operands
    acc = accumulate_product(a, qa, b, qb)
    return finish(node, acc, (qa.scale[()], qb.scale[()]), -1, out, contract)


def product_reals(node: MatMul, operands: Sequence[Operand], contract: Contract) -> Tensor:
    """What the sums of a product of two activations stand for, float32 (..., M, N)."""
    (a, qa), (b, qb) = operands
    acc = accumulate_product(a, qa, b, qb)
    acc = fit_accumulator(acc, contract.accumulator, "sum", channel_axis=-1)
    return real_sums(acc, qa.scale[()], qb.scale[()], channel_axis=-1)


def finish(
    node: Node,
    acc: Tensor,
    scales: tuple[Any, Any],
    axis: int,
    out: QParams,
    contract: Contract,
    addend: Operand | None = None,
) -> Tensor:
    """Codes of finished sums: as the accumulator holds them, rescaled and saturated.

    A bias that the contract adds after the multiplication is added here.

    Args:
        acc: int64, or exact and in float32, which is overwritten; see ``simulator.sums``.
        scales: of the two factors, float32; the second one or (C,) along ``axis``.
        axis: of the channels.
        addend: codes that join the sums, if any, and their parameters.
    """
    acc = fit_accumulator(acc, contract.accumulator, "sum", channel_axis=axis)
    form = contract.form(node.form_name)
    if form.sum_cut:
        raise UnsupportedError(
            node.name,
            "finished sums alone say nothing of bits that are cut from raw ones",
            found=f"sum_cut = {form.sum_cut}",
            allowed="0",
            next_step="look at a layer with codes of 8 bits",
        )
    placed = placed_bias(node, scales, contract) if isinstance(node, Linear) else PlacedBias()
    rest: dict[str, Any] = {"channel_axis": axis, "bounds": node.bounds, "addend": addend}
    return requantize(acc, *scales, out, form, bias=placed.steps, late=placed.reals, **rest)


def _elementwise(
    node: Elementwise, operands: Sequence[Operand], out: QParams, contract: Contract
) -> Tensor:
    (a, qa), (b, qb) = operands
    function = {"Add": elementwise.add, "Mul": elementwise.mul}[node.op_type]
    return function(a, qa, b, qb, out, contract.form(node.form_name), bounds=node.bounds)


def _pool(node: Pool, operands: Sequence[Operand], out: QParams, contract: Contract) -> Tensor:
    ((x, qx),), form = operands, contract.form(node.form_name)
    if node.geometry is None:
        return pooling.global_average_pool(x, qx, out, form, bounds=node.bounds)
    if node.op_type == "MaxPool":
        return pooling.max_pool(x, node.geometry)
    return pooling.average_pool(x, qx, out, form, node.geometry, bounds=node.bounds)


def _concat(node: Concat, operands: Sequence[Operand], out: QParams, contract: Contract) -> Tensor:
    return concat.concat(operands, out, node.axis, contract.form(node.form_name))


def _rescale(
    node: Rescale, operands: Sequence[Operand], out: QParams, contract: Contract
) -> Tensor:
    ((x, qx),) = operands
    return concat.rescale(x, qx, out, contract.form(node.form_name), bounds=node.bounds)


def _lookup(node: Lookup, operands: Sequence[Operand], out: QParams, contract: Contract) -> Tensor:
    ((x, qx),) = operands
    form = contract.form(node.form_name)
    table = lookup.lookup_table(node.op_type, qx, out, params=node.params, form=form)
    return lookup.apply_table(x, qx.qtype, table)


def _softmax(
    node: Softmax, operands: Sequence[Operand], out: QParams, contract: Contract
) -> Tensor:
    ((x, qx),) = operands
    return softmax.softmax(x, qx, out, contract.form("Softmax"), bounds=node.bounds)


def _normalize(
    node: RowNormalization, operands: Sequence[Operand], out: QParams, contract: Contract
) -> Tensor:
    ((x, qx),), form = operands, contract.form(node.form_name)
    return row_norms.normalize(x, qx, out, form, node.norm, bounds=node.bounds)


def _move(node: Move, operands: Sequence[Operand], out: QParams, contract: Contract) -> Tensor:
    ((x, qx),) = operands
    return move(x, node, qx)


_COMPUTE: dict[type[Node], Callable[[Any, Sequence[Operand], QParams, Contract], Tensor]] = {
    Linear: _linear,
    MatMul: _matmul,
    Elementwise: _elementwise,
    Pool: _pool,
    Concat: _concat,
    Rescale: _rescale,
    Lookup: _lookup,
    Softmax: _softmax,
    RowNormalization: _normalize,
    Move: _move,
}
"""Kind of node to the function that computes its codes."""
