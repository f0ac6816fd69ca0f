"""What was seen of a loss surface, as plain values."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


class PlaneKind(StrEnum):
    """What the weights of a place on the plane are.

    ``raw``: the combination of the corners' quantized weights as it is. ``quantized``: that
    combination on the first corner's grid again, so the loss has steps.
    """

    RAW = "raw"
    QUANTIZED = "quantized"


@dataclass(frozen=True)
class Mark:
    """One model on the plane, or projected onto it.

    Args:
        name: of the model.
        corner: True for the three that span the plane.
        x, y: where it is, lengths along the plane.
        away: its distance from the plane; 0 for corners.
        losses: of the model itself, not of its projection, by data.
    """

    name: str
    corner: bool
    x: float
    y: float
    away: float
    losses: Mapping[str, float]

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        losses = {name: number(loss) for name, loss in self.losses.items()}
        return {**vars(self), "losses": losses}


@dataclass(frozen=True)
class Surface:
    """The loss over the grid of one plane on one set of data.

    Args:
        plane: which weights.
        data: which samples.
        losses: float64, a row for each y, a column for each x; may hold NaN and infinities.
    """

    plane: PlaneKind
    data: str
    losses: FloatArray

    def to_json(self) -> dict[str, Any]:
        """Plain data; a loss that is not finite is None."""
        losses = [[number(loss) for loss in row] for row in self.losses]
        return {"plane": str(self.plane), "data": self.data, "losses": losses}


@dataclass(frozen=True)
class Landscape:
    """The plane through three quantized models.

    Args:
        x, y: where the grid is, lengths along the first edge and orthogonal to it.
        marks: the corners, then further models.
        surfaces: one for each plane and set of data.
        samples: how many, by data; ``norms`` are those that BatchNorms were measured on.
    """

    x: Sequence[float]
    y: Sequence[float]
    marks: tuple[Mark, ...]
    surfaces: tuple[Surface, ...]
    samples: Mapping[str, int]

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "x": list(self.x),
            "y": list(self.y),
            "models": [mark.to_json() for mark in self.marks],
            "surfaces": [surface.to_json() for surface in self.surfaces],
            "samples": dict(self.samples),
        }


@dataclass(frozen=True)
class Sharpness:
    """How fast the loss rises around one quantized model.

    Args:
        samples: of the loss.
        loss: at the model.
        eigenvalue: the largest of the Hessian, in the units of the radius; None where it was left
            out.
        settled: the power iteration ended before its limit.
        radius, units: length of the moves; see :class:`deployq.train.Units`.
        adversarial: rise of the loss along the gradient at this radius.
        directions: how many random ones were tried.
        random_mean, random_worst: rise along them at this radius.
    """

    samples: int
    loss: float
    eigenvalue: float | None
    settled: bool
    radius: float
    units: str
    adversarial: float
    directions: int
    random_mean: float
    random_worst: float

    def to_json(self) -> dict[str, Any]:
        """Plain data; a figure that is not finite is None."""
        return {k: number(v) if isinstance(v, float) else v for k, v in vars(self).items()}


@dataclass(frozen=True)
class SharpnessCurve:
    """How the loss rises on the way out of one quantized model.

    Args:
        samples: of the loss.
        loss: at the model.
        radii: lengths of the moves, rising from 0.
        units: of the radii; see :class:`deployq.train.Units`.
        adversarial: rise along the gradient, one for each radius.
        random: rises along random directions, a row each; may hold NaN and infinities, as
            ``adversarial``.
    """

    samples: int
    loss: float
    radii: tuple[float, ...]
    units: str
    adversarial: tuple[float, ...]
    random: tuple[tuple[float, ...], ...]

    def to_json(self) -> dict[str, Any]:
        """Plain data; a rise that is not finite is None."""
        rises = {
            "adversarial": [number(rise) for rise in self.adversarial],
            "random": [[number(rise) for rise in row] for row in self.random],
        }
        return {**vars(self), "radii": list(self.radii), **rises}


def number(value: float) -> float | None:
    """JSON has neither NaN nor infinity: None in their place."""
    return float(value) if math.isfinite(value) else None
