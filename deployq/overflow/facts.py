"""What is proven of a channel and of a layer, frozen and plain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from deployq.arithmetic.contract import Accumulator
from deployq.arithmetic.intervals import Interval

Position = tuple[int, ...]


class Verdict(StrEnum):
    """What a proof says of a layer."""

    FITS = "fits"
    OVERFLOWS = "overflows"  # a witness reaches a sum beyond the accumulator
    MAY_OVERFLOW = "may overflow"  # the bound lies beyond it, and may be out of reach
    UNKNOWN = "unknown"  # the file leaves free how many products are summed


@dataclass(frozen=True)
class Channel:
    """The sums of one output channel.

    Args:
        index: of the channel; None where all channels have the same bounds.
        worst: finished sums over all inputs, both ends.
        any_order: partial sums over all inputs and orders of summation.
        seen: finished sums over the samples; None without samples.
        weights: sum of |weight - zero point|; None of a product of two activations.
        most_weight: the sum up to which the channel fits, whatever its signs, with its bias.
        low_at, high_at: output positions, without batch and channel, of the ends of ``worst``.
    """

    index: int | None
    worst: Interval
    any_order: Interval
    seen: Interval | None = None
    weights: int | None = None
    most_weight: int | None = None
    low_at: Position = ()
    high_at: Position = ()

    @property
    def need(self) -> int:
        """The magnitude that the accumulator has to hold; -2**k counts as 2**k - 1."""
        return max(self.worst.high, ~self.worst.low)

    def to_json(self) -> dict[str, Any]:
        return {
            "channel": self.index,
            "worst": interval_facts(self.worst),
            "any_order": interval_facts(self.any_order),
            "seen": None if self.seen is None else interval_facts(self.seen),
            "weights": self.weights,
            "most_weight": self.most_weight,
        }


@dataclass(frozen=True)
class Layer:
    """The sums of one layer.

    Args:
        name: of its ONNX node.
        operator: ONNX operator type.
        output: name of the code tensor that it writes.
        codes: the range of the codes of each activation that it reads.
        shapes: likewise, its shape; None where nothing says how long it is.
        attained: false where the bound may be out of reach.
        assumed: true where the file leaves the map's size free, and ``shapes`` has one on which
            the bound is reached.
        channels: empty where the file leaves free how many products are summed.
    """

    name: str
    operator: str
    output: str
    codes: Mapping[str, Interval]
    shapes: Mapping[str, tuple[int, ...]] | None
    attained: bool
    assumed: bool
    channels: tuple[Channel, ...]

    @property
    def worst(self) -> Channel:
        """The channel that needs the widest accumulator."""
        return max(self.channels, key=lambda channel: channel.need)

    @property
    def bits(self) -> int:
        """Width that holds every finished sum."""
        return max(channel.worst.bits for channel in self.channels)

    @property
    def any_order_bits(self) -> int:
        """Width that holds every partial sum in any order."""
        return max(channel.any_order.bits for channel in self.channels)

    @property
    def seen_bits(self) -> int | None:
        """Width that holds the finished sums of the samples."""
        seen = [channel.seen.bits for channel in self.channels if channel.seen is not None]
        return max(seen, default=None)

    def failing(self, accumulator: Accumulator) -> tuple[Channel, ...]:
        """Channels whose finished sums leave the accumulator."""
        return tuple(c for c in self.channels if not c.worst.fits(accumulator))

    def verdict(self, accumulator: Accumulator) -> Verdict:
        """What the bounds say."""
        if not self.channels:
            return Verdict.UNKNOWN
        if not self.failing(accumulator):
            return Verdict.FITS
        return Verdict.OVERFLOWS if self.attained else Verdict.MAY_OVERFLOW

    def with_seen(self, seen: tuple[Interval, ...]) -> Layer:
        """The layer with the sums of samples, one for each channel."""
        pairs = zip(self.channels, seen, strict=True)
        return replace(self, channels=tuple(replace(c, seen=sums) for c, sums in pairs))

    def to_json(self, accumulator: Accumulator) -> dict[str, Any]:
        known = bool(self.channels)
        return {
            "layer": self.name,
            "operator": self.operator,
            "codes": {name: [values.low, values.high] for name, values in self.codes.items()},
            "shapes": self.shapes and {name: list(shape) for name, shape in self.shapes.items()},
            "assumed_shapes": self.assumed,
            "verdict": str(self.verdict(accumulator)),
            "bits": self.bits if known else None,
            "any_order_bits": self.any_order_bits if known else None,
            "seen_bits": self.seen_bits,
            "headroom": accumulator.bits - self.bits if known else None,
            "channels": [
                channel.to_json() | {"fits": channel.worst.fits(accumulator)}
                for channel in self.channels
            ],
        }


def interval_facts(values: Interval) -> dict[str, Any]:
    """Both ends, and the width."""
    return {"range": [values.low, values.high], "bits": values.bits}
