"""Arrays for runtimes that would take another type in silence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from deployq.errors import InputError

Array = npt.NDArray[Any]


def typed_input(name: str, wanted: np.dtype[Any], inputs: Mapping[str, Array]) -> Array:
    """The array of one graph input.

    Raises:
        InputError: there is none, or one of another type.
    """
    array = inputs.get(name)
    if array is None or array.dtype != wanted:
        raise InputError(
            f"input {name}",
            "each input gets an array of its own type",
            found="nothing" if array is None else str(array.dtype),
            allowed=str(wanted),
        )
    return array
