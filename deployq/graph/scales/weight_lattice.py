"""Weight scales on the lattice of a profile or of its contract's multiplier."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from deployq.arithmetic.contract import Form, Kind
from deployq.arithmetic.folding import roomy_multiplier
from deployq.arithmetic.multiplier import choose_fixed
from deployq.arithmetic.precisions import real_multiplier
from deployq.errors import QuantizationError
from deployq.graph.batch_norm import SMALLEST_BIAS_SCALE
from deployq.graph.integers import LinearCall, grid_of, output_params, output_quantizer
from deployq.graph.preparation import PreparedModel
from deployq.graph.scales.lattice import (
    lattice_of,
    multipliers_around,
    needs_lattice,
    neighbours,
    snap_scale,
    weight_scales,
)
from deployq.graph.scales.ranges import Grid
from deployq.graph.scales.weight_errors import weight_error
from deployq.graph.weight_rows import weight_rows
from deployq.qgraph.values import located
from deployq.qparams import QParams


def set_weight_grid(prepared: PreparedModel, call: LinearCall, grid: Grid) -> None:
    """Give a layer's weight quantizer a grid, on the lattice that the target has.

    Activations have their scales already. No channel gets a scale whose bias would leave its type.

    Args:
        grid: the scale that is wished for, and the zero point.

    Raises:
        QuantizationError: the contract has no multiplier for the layer's scales.
    """
    call.unit.weight_quantizer.set_qparams(*_snapped(prepared, call, grid))


def _snapped(prepared: PreparedModel, call: LinearCall, grid: Grid) -> Grid:
    form = prepared.profile.contract().form(call.unit.form_name(call.weight))
    if lattice_of(prepared.profile.weight) is None and not needs_lattice(form):
        return grid
    quantizer = call.unit.weight_quantizer
    x_scale = np.float32(grid_of(prepared.module, call.source).scale)
    out = output_params(output_quantizer(prepared, call.name))
    ends = (x_scale, np.float32(out.scale))
    least = least_scale(call, grid[0], x_scale, out, form).reshape(grid[0].shape)
    rows = weight_rows(call.seen_weight(), quantizer)

    def error(scales: Tensor) -> Tensor:
        flat = scales.reshape(len(scales), -1)
        return weight_error(rows, quantizer, (flat, grid[1].reshape(-1).expand_as(flat)))

    scale = _snap(prepared, grid[0], least, error, form, ends)
    _check_multiplier(call.name, scale, form, ends)
    return scale, grid[1]


def _snap(
    prepared: PreparedModel,
    scale: Tensor,
    least: Tensor,
    error: Callable[[Tensor], Tensor],
    form: Form,
    ends: tuple[np.float32, np.float32],
) -> Tensor:
    lattice = lattice_of(prepared.profile.weight)
    if lattice is not None:
        errors = error(torch.stack(neighbours(scale, lattice)))
        return snap_scale(scale, lattice, least, errors.reshape(2, *scale.shape))
    wished = torch.maximum(scale.double(), least).reshape(-1)
    real = real_multiplier(ends[0], wished.numpy(), ends[1])
    both = weight_scales(multipliers_around(real, form).real, *ends)
    errors = error(both)
    # of the lower ones, only those that hold the bias
    lower = (errors[1] < errors[0]) & (both[1] >= least.reshape(-1))
    return torch.where(lower, both[1], both[0]).reshape(scale.shape)


def least_scale(
    call: LinearCall, wished: Tensor, x_scale: np.float32, out: QParams, form: Form
) -> Tensor:
    """(C,) or (1,): lowest weight scale whose bias fits its type and whose shift the target has.

    Where a form folds the output's zero point into the sum, also the lowest with room for both.
    """
    bias = call.unit.real_bias(call.weight, *call.rest)
    steps = bias.cpu().numpy() / (float(x_scale) * wished.double().reshape(-1).cpu().numpy())
    limit = call.unit.bias_type.bearable(steps)
    least: Tensor = (bias.abs().cpu() / (float(x_scale) * limit)) * (1 + 2.0**-20)
    least = least.clamp(min=SMALLEST_BIAS_SCALE / float(x_scale))
    step = float(out.scale) / float(x_scale)
    if form.kind is Kind.SHIFT:
        least = least.clamp(min=2.0**-form.shift_max * step)
    units = bias.double().cpu().numpy() / float(out.scale)
    room = roomy_multiplier(units, int(out.zero_point), form)
    least = torch.maximum(least, torch.from_numpy(room * step))
    per_channel = call.unit.weight_quantizer.scale.ndim > 0
    return least if per_channel else least.amax().reshape(1)


def has_multiplier(scale: Tensor, form: Form, ends: tuple[np.float32, np.float32]) -> bool:
    """Whether the contract's own multiplier expresses weight scales.

    Args:
        scale: (C,) positive float32.
        ends: scales of the layer's input and output.
    """
    try:
        _check_multiplier("weight", scale, form, ends)
    except QuantizationError:
        return False
    return True


def _check_multiplier(
    name: str, scale: Tensor, form: Form, ends: tuple[np.float32, np.float32]
) -> None:
    """Refuse scales that the contract's own multiplier cannot express."""
    if form.kind not in (Kind.FIXED, Kind.SHIFT) or not scale.numel():
        return
    try:
        choose_fixed(real_multiplier(ends[0], scale.numpy(), ends[1]), form)
    except QuantizationError as error:
        raise located(error, name) from error
