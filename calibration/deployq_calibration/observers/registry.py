"""Observers by name: ``mse``, or with a parameter ``percentile:99.9``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from deployq.errors import InputError
from deployq.graph.fake_quantize import FakeQuantize
from deployq.graph.scales.ranges import Grid
from deployq_calibration.observers.entropy import EntropyObserver
from deployq_calibration.observers.minmax import MinMaxObserver
from deployq_calibration.observers.moving_average import MovingAverageObserver
from deployq_calibration.observers.mse import MSEObserver
from deployq_calibration.observers.percentile import PercentileObserver


class Observer(Protocol):
    """Statistics of one tensor."""

    def observe(self, x: Tensor) -> None:
        """Take one batch, any shape."""

    def qparams(self, quantizer: FakeQuantize) -> Grid:
        """Scale and zero point, after all batches."""

    def error(self, quantizer: FakeQuantize, grids: Grid) -> Tensor:
        """What snapping to a lattice makes small, (K,) for K grids."""

    @property
    def set_aside(self) -> int:
        """How many values the range was chosen without: far from all others."""


@dataclass(frozen=True)
class Entry:
    """A kind of observer.

    Args:
        make: builds one, from its parameter where it has one.
        above, up_to: bounds of the parameter; None where it has none.
    """

    make: Callable[..., Observer]
    above: float | None = None
    up_to: float | None = None

    @property
    def allowed(self) -> str:
        """The parameter's bounds as text."""
        if self.above is None:
            return "no parameter"
        return f"a number above {self.above:g}, up to {self.up_to:g}"


OBSERVERS: dict[str, Entry] = {
    "minmax": Entry(MinMaxObserver),
    "mse": Entry(MSEObserver),
    "percentile": Entry(PercentileObserver, 50.0, 100.0),
    "entropy": Entry(EntropyObserver),
    "moving_average": Entry(MovingAverageObserver, 0.0, 1.0),
}


def make_observer(name: str) -> Observer:
    """An observer by name, with its parameter after a colon: ``percentile:99.9``.

    Raises:
        InputError: no such observer, or a parameter that it does not take.
    """
    kind, parameter = parse_name(name, tuple(OBSERVERS))
    make = OBSERVERS[kind].make
    return make() if parameter is None else make(parameter)


def parse_name(name: str, known: tuple[str, ...]) -> tuple[str, float | None]:
    """Kind and parameter of a name.

    Args:
        name: ``kind`` or ``kind:number``.
        known: the kinds that are allowed here.

    Raises:
        InputError: another kind, or a parameter that it does not take.
    """
    kind, colon, text = name.partition(":")
    if kind not in known:
        raise InputError(
            "observer",
            "the observer must exist",
            found=name,
            allowed=", ".join(known),
            next_step="choose one of these",
        )
    return kind, _parameter(OBSERVERS[kind], name, text) if colon else None


def _parameter(entry: Entry, name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if entry.above is None or entry.up_to is None or not entry.above < value <= entry.up_to:
        kind = name.partition(":")[0]
        raise InputError(
            "observer",
            f"the parameter of {kind} is in range",
            found=name,
            allowed=entry.allowed,
            next_step=f"--observer {kind} takes the default",
        )
    return value
