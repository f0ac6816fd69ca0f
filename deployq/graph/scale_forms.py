"""Is a scale one that the profile's ``scale_form`` can express?

Training moves scales and a BatchNorm is absorbed into them: what calibration put on the lattice is
looked at again where integers are made.
"""

from __future__ import annotations

import numpy as np

from deployq.errors import InputError
from deployq.graph.scales.lattice import lattice_of
from deployq.qparams import FloatArray
from deployq_targets.tensors import Activation, Weight


def check_scale_form(name: str, scale: FloatArray, section: Activation | Weight) -> None:
    """Refuse a scale off the profile's lattice.

    Args:
        name: of the tensor.
        scale: float32, rank 0 or (C,).

    Raises:
        InputError: the first such scale.
    """
    lattice = lattice_of(section)
    if lattice is None:
        return
    values = np.atleast_1d(scale)
    fraction, exponent = np.frexp(values)
    low, high = lattice.low, lattice.high
    wrong = np.flatnonzero((fraction != 0.5) | (exponent - 1 < low) | (exponent - 1 > high))
    if wrong.size:
        raise InputError(
            f"{name}: scale",
            "the target's scales are powers of two",
            found=repr(float(values[wrong[0]])),
            allowed=f"2**k with k from {low} to {high}",
            next_step="calibrate again: it puts scales on powers of two",
        )
