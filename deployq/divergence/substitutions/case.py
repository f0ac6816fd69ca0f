"""What every substitution starts from, and what it gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt
from torch import Tensor

from deployq.arithmetic.contract import Contract
from deployq.divergence.facts import Cause
from deployq.divergence.layer import Layer
from deployq.qgraph.nodes import Bounds

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Case:
    """A layer that differs, fed A's codes.

    Args:
        layer: with the arithmetic that is changed, as its side computes it.
        kernels: of a layer in float, the arithmetic of integer kernels that could compute it.
        unoptimised: codes that ONNX Runtime's float kernels give; None where there are none.
        other_bias: bias codes of the other side's layer, if it has them.
        other_bounds: bounds of the other side's layer, on this one's zero point, if it has them.
        real_bias: a bias that a file holds as reals, in units of ``s_x * s_w``, float64 (C,).
    """

    layer: Layer
    kernels: Contract | None = None
    unoptimised: Tensor | None = None
    other_bias: Array | None = None
    other_bounds: Bounds | None = None
    real_bias: Array | None = None


Key = tuple[Cause, str, int | None]
"""What tells one change from another: cause, detail, bits."""


@dataclass(frozen=True, eq=False)
class Change:
    """One change of the arithmetic; the fields of a :class:`deployq.divergence.facts.Tried`.

    Args:
        codes: computes the layer under it, int64; raises DeployqError where it cannot.
        contains: a smaller change that is part of it: where that one gives every code, this one
            shows nothing.
    """

    cause: Cause
    detail: str
    codes: Callable[[], Tensor]
    bits: int | None = None
    contains: Key | None = None

    @property
    def key(self) -> Key:
        return self.cause, self.detail, self.bits
