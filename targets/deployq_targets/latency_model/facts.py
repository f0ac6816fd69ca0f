"""What the model says, frozen: cycles by bound, layer by layer, and their total."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

LABEL = "modelled from the profile, not measured"
"""Stands beside every figure of the model."""


class Bound(StrEnum):
    """What takes time in a layer; all of it at once, so that the slowest decides."""

    COMPUTE = "compute"  # multiply-accumulates, sizes rounded up
    LOADING = "loading"  # weights into the multipliers
    WEIGHTS = "weights"  # weights from the memory outside
    ACTIVATIONS = "activations"  # feature maps from and to their memory
    OUTPUT = "output"  # results requantized and written, elementwise operators


@dataclass(frozen=True)
class ModelledLayer:
    """One operator as the hardware runs it.

    Args:
        name: of the tensor that it writes.
        operator: ONNX operator type.
        fused: tensors of the nodes that are computed on the way to ``name``; they cost no time of
            their own.
        views: other names and shapes of what it writes.
        joined: the tensor that it writes a part of, in its place; None where it writes a whole one.
        macs: multiply-accumulates for one sample.
        cycles: by bound; of a bound that the profile states no figure for, 0.
        fill: cycles in which only a part works: the first block is read and the last one written,
            weights of the first one are awaited; beside the slowest of compute, loading and output.
        total: cycles of the layer, those before it computes included.
        milliseconds: the same at the profile's clock.
        bound: that dominates.
        weight_bytes: weights and what belongs to them, as they are stored.
        outside_bytes: feature maps that are read from and written to the memory outside.
    """

    name: str
    operator: str
    fused: tuple[str, ...]
    views: tuple[str, ...]
    joined: str | None
    macs: int
    cycles: Mapping[Bound, float]
    fill: float
    total: float
    milliseconds: float
    bound: Bound
    weight_bytes: float
    outside_bytes: int


def behind_each_other(parts: Sequence[ModelledLayer]) -> ModelledLayer:
    """One layer of several, bounded by what bounds the longest."""
    longest = max(parts, key=lambda part: part.total)
    return replace(
        longest,
        cycles={bound: sum(part.cycles[bound] for part in parts) for bound in longest.cycles},
        fill=sum(part.fill for part in parts),
        total=sum(part.total for part in parts),
        milliseconds=sum(part.milliseconds for part in parts),
        outside_bytes=sum(part.outside_bytes for part in parts),
    )


@dataclass(frozen=True)
class ModelledLatency:
    """A whole network for one sample.

    Args:
        target: whose profile it is.
        clock_hz: the profile's.
        layers: in the order in which they run.
        left_out: operators in float and what else the profile states no time for, by name: their
            time is not in the total.
        unstated: keys that the profile does not state; what they bound counts for nothing.
    """

    target: str
    clock_hz: int
    layers: tuple[ModelledLayer, ...]
    left_out: tuple[str, ...]
    unstated: tuple[str, ...]

    @property
    def label(self) -> str:
        """What kind of figure this is; to be printed beside it."""
        return LABEL

    @property
    def cycles(self) -> float:
        """Of all layers, one after the other."""
        return sum(layer.total for layer in self.layers)

    @property
    def milliseconds(self) -> float:
        """The same at the profile's clock."""
        return sum(layer.milliseconds for layer in self.layers)

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one sample."""
        return sum(layer.macs for layer in self.layers)
