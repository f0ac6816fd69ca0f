"""Which tensors of two sides are one tensor, and by what their codes are shifted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from deployq.divergence.facts import Apart
from deployq.divergence.sides import Array, Side
from deployq.errors import InputError
from deployq.qparams import QParams


@dataclass(frozen=True)
class Matched:
    """The tensors that two sides share.

    Args:
        shifts: what B's container adds to A's codes, by tensor: the zero points' difference.
        apart: tensors that only one side has, or that have other scales.
    """

    shifts: Mapping[str, int]
    apart: tuple[Apart, ...]

    def on_a(self, codes: Mapping[str, Array]) -> dict[str, Array]:
        """Shared codes of B on A's zero points."""
        return {t: codes[t] - shift for t, shift in self.shifts.items() if t in codes}

    def on_b(self, codes: Mapping[str, Array]) -> dict[str, Array]:
        """Shared codes of A on B's zero points."""
        return {t: codes[t] + shift for t, shift in self.shifts.items() if t in codes}


def match(a: Side, b: Side) -> Matched:
    """Tensors of one name and one scale.

    Raises:
        InputError: a side computes no codes, or the sides share no tensor.
    """
    for side in (a, b):
        _check_codes(side)
    shifts, apart = dict[str, int](), []
    of_a, of_b = a.tensors, b.tensors
    for tensor, qparams in of_a.items():
        if tensor not in of_b:
            apart.append(Apart(tensor, _missing(a, b, tensor)))
        elif of_b[tensor].scale != qparams.scale:
            apart.append(Apart(tensor, _scales(qparams, of_b[tensor]), differs=True))
        else:
            shifts[tensor] = int(of_b[tensor].zero_point) - int(qparams.zero_point)
    missing = [tensor for tensor in of_b if tensor not in of_a]
    apart += [Apart(tensor, _missing(b, a, tensor)) for tensor in missing]
    if not shifts:
        raise InputError(
            f"{a.label} and {b.label}",
            "two sides are compared in tensors of one name and one scale",
            found=f"{apart[0].tensor}: {apart[0].reason}",
            allowed="files of one network",
            next_step="compare files whose tensors bear the same names",
        )
    return Matched(shifts, tuple(apart))


def _check_codes(side: Side) -> None:
    if not side.tensors:
        raise InputError(
            side.label,
            "a side has integer tensors to compare",
            found="no integer tensors: everything runs in float",
            allowed="a QDQ or QOperator file",
            next_step="quantize the network first: deployq export",
        )


def _missing(there: Side, here: Side, tensor: str) -> str:
    if tensor in here.hidden:
        return f"{here.label} would run in other kernels if its codes were read"
    return f"only {there.label} computes it"


def _scales(a: QParams, b: QParams) -> str:
    return f"scales {float(a.scale):.9g} and {float(b.scale):.9g}"
