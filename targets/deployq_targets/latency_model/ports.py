"""The two memories as the accelerator sees them: how long so many bytes take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from deployq_targets.machine import Memory
from deployq_targets.words import Traffic

Moved = Mapping[Traffic, float]
"""Bytes by what moves."""


@dataclass(frozen=True)
class Port:
    """The way to one memory.

    Args:
        bandwidth: bytes per cycle; None where the profile states none.
        latency: cycles from a request to its first byte.
        write_latency: cycles that a write takes beside its bytes.
        in_flight: bytes that can be under way at once.
        share: of them, that are.
        burst: bytes that a shorter access costs as well.
    """

    bandwidth: float | None = None
    latency: int = 0
    write_latency: int = 0
    in_flight: Mapping[Traffic, int] = field(default_factory=dict)
    share: float = 1.0
    burst: int | None = None

    def cycles(self, moved: Moved) -> float:
        """All of it together over the bandwidth, or the slowest of them alone."""
        alone = [self.alone(size, traffic) for traffic, size in moved.items()]
        return max(self.transfer(sum(moved.values())), *alone, 0.0)

    def transfer(self, size: float) -> float:
        """Cycles at the whole bandwidth."""
        return size / self.bandwidth if self.bandwidth else 0.0

    def awaited(self, size: float, lot: int | None) -> float:
        """Cycles until so much was there, where a lot is asked for when the last one came."""
        return self.transfer(size) if lot is None else size / lot * self.latency

    def alone(self, size: float, traffic: Traffic) -> float:
        """Cycles where nothing else moves: a latency for each lot under way (Little's law)."""
        lot = self.in_flight.get(traffic)
        latency = self.write_latency if traffic is Traffic.RESULTS else self.latency
        waited = 0.0 if lot is None else size / (lot * self.share) * latency
        return max(self.transfer(size), waited)


def onchip(memory: Memory, clock: int) -> Port:
    """The memory on the chip."""
    latency = memory.onchip_latency or 0
    return Port(
        bandwidth=_per_cycle(memory.onchip_bw, clock),
        latency=latency,
        write_latency=latency,
        in_flight=memory.onchip_in_flight,
        share=memory.in_flight_share,
        burst=memory.onchip_burst,
    )


def external(memory: Memory, clock: int) -> Port:
    """The memory outside."""
    return Port(
        bandwidth=_per_cycle(memory.external_bw, clock),
        latency=memory.external_latency or 0,
        write_latency=memory.external_write_latency or 0,
        in_flight=memory.external_in_flight,
        share=memory.in_flight_share,
        burst=memory.external_burst,
    )


def _per_cycle(bandwidth: float | None, clock: int) -> float | None:
    return None if bandwidth is None else bandwidth / clock
