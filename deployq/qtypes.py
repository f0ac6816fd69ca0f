"""QType: the integer type of a quantized tensor."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from deployq.errors import QuantizationError

CONTAINER_BITS = (2, 4, 8, 16, 32)
"""Widths for which ONNX has an integer tensor type (2 bits from opset 25, 4 bits from 21)."""


@dataclass(frozen=True, order=True)
class QType:
    """An integer type of 1 to 32 bits.

    Args:
        bits: width, 1 to 32.
        signed: two's complement when true.
        narrow_range: drop the lowest code of a signed type, so the range is symmetric
            ([-7, 7] instead of [-8, 7]). Unsigned types and one bit have no narrow form.

    Raises:
        QuantizationError: the combination has no codes.
    """

    bits: int
    signed: bool
    narrow_range: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= 32:
            raise QuantizationError(
                "QType.bits",
                "an integer type has 1 to 32 bits",
                found=str(self.bits),
                allowed="1..32",
            )
        if self.narrow_range and (not self.signed or self.bits == 1):
            raise QuantizationError(
                self.name,
                "only signed types of 2 bits and more have a narrow range",
                found="narrow_range = true",
                allowed="narrow_range = false",
            )

    @property
    def qmin(self) -> int:
        """Lowest code."""
        if not self.signed:
            return 0
        return -(1 << (self.bits - 1)) + int(self.narrow_range)

    @property
    def qmax(self) -> int:
        """Highest code."""
        return (1 << (self.bits - int(self.signed))) - 1

    @property
    def name(self) -> str:
        """``s4``, ``u8``: sign and width, as profiles spell them."""
        return f"{'s' if self.signed else 'u'}{self.bits}"

    @property
    def container(self) -> QType:
        """The narrowest type with an ONNX tensor type that holds every code."""
        bits = next(width for width in CONTAINER_BITS if width >= self.bits)
        return QType(bits, self.signed)

    @property
    def fills_container(self) -> bool:
        """True when saturating to the container is the same as saturating to this type."""
        return (self.container.qmin, self.container.qmax) == (self.qmin, self.qmax)

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """The NumPy type that holds codes in memory: 8, 16 or 32 bits, never packed."""
        width = 8 if self.bits <= 8 else 16 if self.bits <= 16 else 32
        return np.dtype(f"{'i' if self.signed else 'u'}{width // 8}")

    def __str__(self) -> str:
        return f"{self.name}[{self.qmin},{self.qmax}]"

    @classmethod
    def parse(cls, text: str, *, narrow_range: bool = False) -> QType:
        """``"s4"`` to QType(4, signed=True).

        Raises:
            QuantizationError: not ``s`` or ``u`` followed by a width.
        """
        if text[:1] not in ("s", "u") or not text[1:].isdigit():
            raise QuantizationError(
                "type",
                "a type is 's' or 'u' followed by its width",
                found=repr(text),
                allowed="u1..u32, s1..s32",
            )
        return cls(int(text[1:]), text[0] == "s", narrow_range)
