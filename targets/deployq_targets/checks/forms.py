"""The form of scales: which there may be, and what shares one."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from deployq.qparams import FloatArray, Granularity, PerChannel, PerTensor
from deployq_targets.words import ScaleForm, Sharing


def sharing(granularity: Granularity) -> Sharing:
    """A granularity in the word of a profile."""
    words = {PerTensor: Sharing.TENSOR, PerChannel: Sharing.CHANNEL}
    return words.get(type(granularity), Sharing.BLOCK)


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
