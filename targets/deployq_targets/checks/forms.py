"""The form of scales and zero points: which there may be, and what shares one."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from deployq.qparams import FloatArray, Granularity, PerChannel, PerTensor, QParams
from deployq_targets.tensors import ZeroPoint, zero_points
from deployq_targets.words import ScaleForm, Sharing


def sharing(granularity: Granularity) -> Sharing:
    """A granularity in the word of a profile."""
    words = {PerTensor: Sharing.TENSOR, PerChannel: Sharing.CHANNEL}
    return words.get(type(granularity), Sharing.BLOCK)


def zero_point_breach(qparams: QParams, stated: ZeroPoint) -> Iterator[tuple[str, str, str]]:
    """Found, allowed and change of the one zero point of a tensor that is not as stated."""
    low, high = zero_points(stated, qparams.qtype)
    found = int(qparams.zero_point)
    if not low <= found <= high:
        allowed = str(low) if low == high else f"{low}..{high}"
        change = "quantize this tensor symmetrically" if low == high == 0 else "shift the range"
        yield str(found), allowed, change


def scale_form_breach(
    scale: FloatArray, form: ScaleForm, exponents: tuple[int, int] | None
) -> Iterator[tuple[str, str, str]]:
    """Found, allowed and change of the first scale that is not of the form."""
    if form is ScaleForm.ANY:
        return
    values = np.asarray(scale, np.float64).ravel()
    logs = np.log2(values)
    off = logs != np.rint(logs)
    if exponents is not None:
        off |= (logs < exponents[0]) | (logs > exponents[1])
    if off.any():
        found, nearest = values[off][0], np.rint(logs[off][0])
        if exponents is not None:
            nearest = np.clip(nearest, *exponents)
        allowed = "powers of two"
        if exponents is not None:
            allowed += f" from 2**{exponents[0]} to 2**{exponents[1]}"
        yield f"{found:g}", allowed, f"nearest: 2**{int(nearest)}"
