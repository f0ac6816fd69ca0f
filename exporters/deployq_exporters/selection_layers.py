"""Convolutions of zeros and ones that stand for movements, as the file stores them."""

from __future__ import annotations

import numpy as np
import torch

from deployq.arithmetic.contract import Form
from deployq.arithmetic.geometry import ConvGeometry
from deployq.arithmetic.kernels.requantize import requantize
from deployq.arithmetic.requant_words import BiasOrder
from deployq.errors import UnsupportedError
from deployq.graph.bias_type import BiasType
from deployq.graph.fake_quantize import FakeQuantize
from deployq.graph.integers import LayerIntegers, grid_of, is_on_grid
from deployq.graph.late_bias import with_late_bias
from deployq.graph.plan import SelectionPlan
from deployq.graph.preparation import PreparedModel
from deployq.graph.scale_forms import check_scale_form
from deployq.graph.selections import NOTHING, planned_chain
from deployq.graph.units import QuantizedLinear
from deployq.qparams import PerChannel, PerTensor, QParams
from deployq_exporters.stored_layers import StoredLayer, stored
from deployq_targets import TargetProfile

ONE = np.float32(1.0)
"""The weight's scale: the multiplier is s_x / s_y, of one grid."""


def selection_layers(prepared: PreparedModel) -> dict[str, StoredLayer]:
    """The convolution of each planned selection whose codes are on a grid, by name.

    Raises:
        InputError: the network lacks a chain of its plan.
        UnsupportedError: the target's arithmetic would change a code.
    """
    module, found = prepared.module, dict[str, StoredLayer]()
    for plan in prepared.plan.selections:
        last, _ = planned_chain(module, plan)
        if is_on_grid(module, last):
            found[plan.name] = _layer(plan, grid_of(module, last), prepared.profile)
    return found


def _layer(plan: SelectionPlan, grid: QParams, profile: TargetProfile) -> StoredLayer:
    shape = (len(plan.channels),) if plan.per_channel else ()
    granularity = PerChannel(0) if plan.per_channel else PerTensor()
    unit = QuantizedLinear(
        "Conv",
        FakeQuantize(plan.qtype, granularity, shape, symmetric=True, fixed_scale=float(ONE)),
        geometry=ConvGeometry(strides=plan.strides),
        bias_type=BiasType.of(profile.bias),
    )
    weight, scale = _weight(plan), np.float32(grid.scale)
    form, late = profile.contract().form(unit.form_name(weight)), None
    codes = unit.integers(scale, weight)
    if profile.bias.order is BiasOrder.AFTER_SCALE:
        late = np.zeros(len(plan.channels))
        codes = with_late_bias(plan.name, codes, late, scale, scale, form, profile.bias.bits)
    check_scale_form(f"{plan.name}.weight", codes.scale, profile.weight)
    _check_codes(plan.name, grid, form, late is not None)
    return stored(unit, LayerIntegers(codes, grid, unit.weight_qparams(codes)))


def _weight(plan: SelectionPlan) -> torch.Tensor:
    """(O, C, 1, 1): a one where an output channel has an input channel."""
    weight = torch.zeros(len(plan.channels), plan.inputs, 1, 1)
    for output, channel in enumerate(plan.channels):
        if channel != NOTHING:
            weight[output, channel] = 1.0
    return weight


def _check_codes(name: str, grid: QParams, form: Form, late: bool) -> None:
    """Every code of the grid, that of 0 among them, comes out as it went in."""
    codes = torch.arange(grid.qtype.qmin, grid.qtype.qmax + 1)
    sums = (codes - int(grid.zero_point))[:, None]
    made = requantize(
        sums, np.float32(grid.scale), ONE, grid, form, bias=np.zeros(1, np.int64),
        late=np.zeros(1) if late else None,
    )  # fmt: skip
    other = codes[made[:, 0].long() != codes]
    if len(other):
        raise UnsupportedError(
            name,
            "a convolution by 1 leaves every code as it is, in the target's arithmetic",
            found=f"code {int(other[0])} becomes {int(made[codes == other[0], 0])}",
            next_step="choose a target with Slice and Pad, or another shortcut",
        )
