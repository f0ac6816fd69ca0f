"""Progressive widths: what was trained at one width is where the next, narrower one begins.

Zhuang et al. 2018 (arXiv 1711.00205) train from high to low precision; how scales are carried is
our choice.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from deployq.errors import InputError
from deployq.graph.batch_norm import BatchNormTensors, move_sign_into_weight
from deployq.graph.finished import check_calibrated
from deployq.graph.integers import LinearCall, linear_calls
from deployq.graph.plan import TensorPlan
from deployq.graph.preparation import QUANTIZERS, PreparedModel
from deployq.graph.scales.ranges import qparams_of_range, real_ends
from deployq.graph.scales.weight_errors import least_error_grid
from deployq.graph.scales.weight_lattice import set_weight_grid


@torch.no_grad()
def carry_weights(source: PreparedModel, target: PreparedModel) -> None:
    """Start a model from what another one of the same network learned, in place.

    Weights, biases and BatchNorms are copied. Activation grids keep their real range in the codes
    that the target has for them; weight scales are chosen anew, by the least squared error. Both
    are put on the target's lattice, if it has one.

    Args:
        source: calibrated or trained.
        target: the same network prepared at other widths; its scales need not be chosen.

    Raises:
        InputError: parameters or quantized tensors have other names or shapes, or the source has
            a scale that nobody chose.
        QuantizationError: scales that the target's multiplier cannot express.
    """
    ours, theirs = _own_tensors(target), _own_tensors(source)
    _same("parameters", _shapes(theirs), _shapes(ours))
    _same("quantized tensors", _members(source), _members(target))
    for name, quantizer in source.quantizers().items():
        check_calibrated(name, quantizer)
    bounded = {id(norm.gamma) for _, norm in _absorbed(source)}
    for name, tensor in theirs.items():
        ours[name].copy_(tensor.clamp(min=0.0) if id(tensor) in bounded else tensor)
    for call, norm in _absorbed(target):
        if norm.gamma is not None:
            bias, along = call.rest[0], call.unit.along_outputs
            move_sign_into_weight(call.weight, bias, norm.gamma, norm.mean, along)
    for grid in target.plan.tensors:
        _carry_range(source, target, grid)
    for call in linear_calls(target):
        grid_of_weight = least_error_grid(call.seen_weight(), call.unit.weight_quantizer)
        set_weight_grid(target, call, grid_of_weight)


def _own_tensors(prepared: PreparedModel) -> dict[str, Tensor]:
    """Parameters and buffers under the user's names; one tensor may have several."""
    module = prepared.module
    found: dict[str, Tensor] = dict(module.named_parameters(remove_duplicate=False))
    found |= module.named_buffers(remove_duplicate=False)
    return {name: tensor for name, tensor in found.items() if not name.startswith(QUANTIZERS)}


def _shapes(tensors: dict[str, Tensor]) -> dict[str, Any]:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def _members(prepared: PreparedModel) -> dict[str, Any]:
    return {name: "on a grid" for grid in prepared.plan.tensors for name in grid.tensors}


def _same(what: str, theirs: dict[str, Any], ours: dict[str, Any]) -> None:
    apart = sorted(name for name in theirs.keys() | ours if theirs.get(name) != ours.get(name))
    if apart:
        first = apart[0]
        raise InputError(
            first,
            f"the {what} of both models have the same names and shapes",
            found=f"{theirs.get(first, 'none')} in the source, {len(apart)} apart in all",
            allowed=f"{ours.get(first, 'none')} in the target",
            next_step="prepare both models from one network",
        )


def _absorbed(prepared: PreparedModel) -> list[tuple[LinearCall, BatchNormTensors]]:
    """Layers whose BatchNorm runs with gamma bounded at 0 (law 2)."""
    calls = [c for c in linear_calls(prepared) if c.unit.batch_norm == "absorb"]
    return [(call, call.norm) for call in calls if call.norm is not None]


def _carry_range(source: PreparedModel, target: PreparedModel, grid: TensorPlan) -> None:
    """The hull of the ranges that the members of a grid had."""
    before = source.quantizers()
    names = {p.name for p in source.plan.tensors if not {*p.tensors}.isdisjoint(grid.tensors)}
    ends = [
        real_ends(before[name], (before[name].effective_scale(), before[name].zero_point))
        for name in sorted(names)
    ]
    low = torch.stack([low for low, _ in ends]).amin(0)
    high = torch.stack([high for _, high in ends]).amax(0)
    quantizer = target.quantizers()[grid.name]
    scale, zero_point = qparams_of_range(quantizer, low, high)
    quantizer.set_qparams(quantizer.nearest_scale(scale), zero_point)
