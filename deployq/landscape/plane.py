"""The plane through three points, in float64.

With ``u`` the unit vector from ``p0`` to ``p1``, ``du`` their distance, and ``v``, ``dv`` the same
of the part of ``p2 - p0`` that is orthogonal to ``u``, the plane is ``p0 + a du u + b dv v``
(Garipov et al. 2018, arXiv 1802.10026, and its released code).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import Tensor

from deployq.errors import InputError

FLATTEST = 1e-6
"""A triangle whose height is a smaller part of its longest edge counts as a line."""

Shares = tuple[float, float, float]
Ticks = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Plane:
    """Coordinates ``(a, b)`` are in widths and heights: ``p0`` is (0, 0), ``p1`` (1, 0) and ``p2``
    (foot, 1).

    Args:
        origin: (P,) float64, ``p0``.
        along, up: (P,) float64, ``u`` and ``v``.
        width, height: ``du`` and ``dv``, above 0.
        foot: where the perpendicular from ``p2`` meets the first edge, in widths.
    """

    origin: Tensor
    along: Tensor
    up: Tensor
    width: float
    height: float
    foot: float

    @classmethod
    def through(cls, corners: Sequence[Tensor]) -> Plane:
        """The plane of three vectors (P,) in float64.

        Raises:
            InputError: they lie on a line, or two are equal.
        """
        first, second, third = corners
        edge, other = second - first, third - first
        width, length = float(edge.norm()), float(other.norm())
        along = edge / width if width else edge
        foot = float(other @ along)
        rest = other - foot * along
        height = float(rest.norm())
        if not width or height <= FLATTEST * max(width, length, float((other - edge).norm())):
            raise InputError(
                "the three models",
                "a plane goes through three models that are not on a line",
                found=f"a width of {width:.3g} and a height of {height:.3g}",
                next_step="name three different models, such as three captures of one run",
            )
        return cls(first, along, rest / height, width, height, foot / width)

    @property
    def corners(self) -> tuple[tuple[float, float], ...]:
        """Coordinates of the three points."""
        return (0.0, 0.0), (1.0, 0.0), (self.foot, 1.0)

    def shares(self, a: float, b: float) -> Shares:
        """Weights of the three points, sum 1, whose combination is at ``(a, b)``."""
        second = a - b * self.foot
        return 1.0 - second - b, second, b

    def project(self, point: Tensor) -> tuple[float, float, float]:
        """Coordinates ``(a, b)`` of the nearest place of the plane, and the distance from it.

        Args:
            point: (P,) float64.
        """
        gap = point - self.origin
        x, y = float(gap @ self.along), float(gap @ self.up)
        away = float((gap - x * self.along - y * self.up).norm())
        return x / self.width, y / self.height, away

    def ticks(self, count: int, margin: float) -> tuple[Ticks, Ticks]:
        """Coordinates of a grid around the triangle: [-margin, 1 + margin] each way, wider where
        the foot is outside the first edge.

        Args:
            count: each way, at least 2.
            margin: in widths and heights, not negative.
        """
        low, high = min(0.0, self.foot) - margin, max(1.0, self.foot) + margin
        return np.linspace(low, high, count), np.linspace(-margin, 1.0 + margin, count)
