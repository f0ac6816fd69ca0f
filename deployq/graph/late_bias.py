"""Biases that a target adds between multiplication and shift, in steps of ``s_y * 2**-shift``."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from deployq.arithmetic.contract import Form
from deployq.arithmetic.multiplier import choose_fixed
from deployq.arithmetic.precisions import real_multiplier
from deployq.arithmetic.rounding import Float64Array
from deployq.errors import UnsupportedError
from deployq.graph.batch_norm import LateBias, LinearCodes


def with_late_bias(
    name: str,
    found: LinearCodes,
    bias: Float64Array,
    input_scale: np.float32,
    output_scale: np.float32,
    form: Form,
    bits: int,
) -> LinearCodes:
    """A layer's integers with its bias on the scale of its multiplier's last step.

    Args:
        name: of the layer.
        found: its integers.
        bias: float64 (C,), with the BatchNorm absorbed.
        input_scale, output_scale: float32.
        form: its requantization, of kind fixed or shift.
        bits: width of a bias code.

    Raises:
        QuantizationError: the form cannot express a multiplier.
        UnsupportedError: a code leaves its width.
    """
    real = real_multiplier(input_scale, found.scale, output_scale, form.precision)
    shift = choose_fixed(real, form).shift
    if form.shared_shift:
        shift = shift.max(initial=form.shift_min)
    scale = np.asarray(np.ldexp(output_scale, -shift), np.float32)
    late = LateBias(np.rint(bias / scale.astype(np.float64)).astype(np.int64), scale)
    _check_width(name, late, bits)
    steps = np.rint(late.reals / found.bias_scale.astype(np.float64)).astype(np.int64)
    return replace(found, bias=steps, bias_shift=0, late=late)


def _check_width(name: str, late: LateBias, bits: int) -> None:
    most = (1 << (bits - 1)) - 1
    worst = int(np.abs(late.codes).argmax())
    if abs(int(late.codes[worst])) > most:
        raise UnsupportedError(
            f"{name}.bias, output channel {worst}",
            "a bias code on the scale s_y 2**-shift fits bias.bits",
            found=str(late.codes[worst]),
            allowed=f"-{most}..{most}",
            next_step="give the layer a coarser output, or another target",
        )
