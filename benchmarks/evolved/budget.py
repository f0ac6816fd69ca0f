"""How much is searched: on two cores, as released on a GPU, or next to nothing to try the parts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from deployq_calibration.evolq import EvolveSettings


@dataclass(frozen=True)
class Schedule:
    """One search of a network.

    Args:
        seconds: of processor time that it may take; more is a miss.
        sizes: fields of :class:`EvolveSettings` that differ from the defaults.
    """

    seconds: float
    sizes: Mapping[str, Any]

    def settings(self, seed: int, **more: Any) -> EvolveSettings:
        """Of one search."""
        return EvolveSettings(**{**self.sizes, "seed": seed, **more})


@dataclass(frozen=True)
class Budget:
    """Sizes of a run.

    Args:
        schedules: networks and how each is searched; a new network is one line.
        seeds: how often.
        reported: images that figures are reported on, at most.
        iterations: of learned rounding, a block.
        speed: network of the part ``speed``; its images, and a batch of them.
        rounds: of ``speed``, and of ``latency``.
    """

    schedules: Mapping[str, Schedule]
    seeds: int
    reported: int
    iterations: int
    speed: tuple[str, int, int]
    rounds: tuple[int, int]


RELEASED = {"passes": 10, "children": 3, "samples": 1000, "batch": 100}
SMALL = {"passes": 10, "samples": 500, "batch": 100}
REDUCED = {"passes": 2, "samples": 200, "batch": 50, "held_back": 0.25, "free_passes": 1}
TINY = {"passes": 1, "children": 1, "samples": 48, "batch": 16, "held_back": 0.34}

QUICK = Budget(
    {
        "mnist_vit_prenorm": Schedule(600, SMALL),
        "cifar10_vit_prenorm": Schedule(1500, SMALL),
        "cifar10_vit_postnorm": Schedule(3000, SMALL),
        "imagenet_vit_tiny16": Schedule(1800, REDUCED),
    },
    seeds=3, reported=6000, iterations=300,
    speed=("imagenet_vit_tiny16", 16, 8), rounds=(3, 30),
)  # fmt: skip
FULL = Budget(
    {name: Schedule(24 * 3600, RELEASED) for name in QUICK.schedules},
    seeds=3, reported=6000, iterations=500,
    speed=("imagenet_vit_tiny16", 64, 32), rounds=(5, 30),
)  # fmt: skip
TRIAL = Budget(
    {"mnist_vit_prenorm": Schedule(120, TINY)},
    seeds=2, reported=64, iterations=3, speed=("mnist_vit_prenorm", 16, 8), rounds=(2, 2),
)  # fmt: skip
BUDGETS = {"quick": QUICK, "full": FULL, "trial": TRIAL}
