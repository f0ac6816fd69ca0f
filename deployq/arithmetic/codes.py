"""What every operator needs to know of its tensors' parameters."""

from __future__ import annotations

import numpy as np

from deployq.arithmetic.contract import Form
from deployq.errors import QuantizationError, UnsupportedError
from deployq.qparams import PerTensor, QParams

Bounds = tuple[int, int]


def scale_and_zero(qparams: QParams, where: str) -> tuple[np.float32, int]:
    """Scale (float32) and zero point of an activation.

    Raises:
        QuantizationError: the parameters are not per tensor.
    """
    if not isinstance(qparams.granularity, PerTensor):
        raise QuantizationError(
            where,
            "an activation has one scale",
            found=str(qparams.granularity),
            allowed="PerTensor",
            next_step="quantize activations per tensor",
        )
    return np.float32(qparams.scale), int(qparams.zero_point)


def check_code_bits(operator: str, form: Form, *qparams: QParams) -> None:
    """Raises UnsupportedError where codes are wider than the form is known for."""
    for q in qparams:
        if form.code_bits is not None and q.qtype.bits > form.code_bits:
            raise UnsupportedError(
                operator,
                "the target's arithmetic is known for codes of this width",
                found=str(q.qtype),
                allowed=f"{form.code_bits} bits",
                next_step=f"give the tensors of {operator} {form.code_bits} bits",
            )


def code_offset(qparams: QParams, form: Form) -> int:
    """What the kernel's codes lie above ours: 128 for int8 codes computed as uint8."""
    return 128 if form.s8_as_u8 and qparams.qtype.dtype == np.int8 else 0


def clip_range(out: QParams, bounds: Bounds | None) -> Bounds:
    """Lowest and highest code of an output, with a fused Relu or Clip.

    Raises:
        QuantizationError: no code of the type lies inside ``bounds``.
    """
    low, high = bounds or (out.qtype.qmin, out.qtype.qmax)
    low, high = max(low, out.qtype.qmin), min(high, out.qtype.qmax)
    if low > high:
        raise QuantizationError(
            "bounds",
            "a fused clip leaves at least one code",
            found=str(bounds),
            allowed=str(out.qtype),
            next_step="check the range of the Clip before this quantizer",
        )
    return low, high
