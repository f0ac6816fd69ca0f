"""How much is searched: on two cores, as released on a GPU, or next to nothing to try the parts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from benchmarks.evolved.grids import (
    EVERY,
    LANGUAGE,
    NARROWEST,
    PLAIN,
    POWER_PAIRS,
    ROUNDED,
    WIDE,
    Grid,
)
from deployq_calibration.evolq import EvolveSettings


@dataclass(frozen=True)
class Schedule:
    """One search of a network.

    Args:
        seconds: of processor time that it may take; more is a miss.
        sizes: fields of :class:`EvolveSettings` that differ from the defaults.
        grids: that are searched.
        pairs: float scales that nobody searched, and powers of two that are searched.
        frozen: fields of searches behind learned rounding.
        at_8_bits: fields of searches of 8-bit weights.
    """

    seconds: float
    sizes: Mapping[str, Any]
    grids: tuple[Grid, ...] = PLAIN
    pairs: tuple[tuple[Grid, Grid], ...] = ()
    frozen: Mapping[str, Any] = field(default_factory=lambda: {"codes": "frozen"})
    at_8_bits: Mapping[str, Any] = field(default_factory=dict)

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
        device: that evaluates the candidates of searches, but for those of ``speed``.
    """

    schedules: Mapping[str, Schedule]
    seeds: int
    reported: int
    iterations: int
    speed: tuple[str, int, int]
    rounds: tuple[int, int]
    device: str = "cpu"


RELEASED = {"passes": 10, "children": 3, "samples": 1000, "batch": 100}
CHOSEN = {"searched": "all", "activations": True, "fitness": "kl", "patience": 2}
SMALL = {**CHOSEN, "passes": 4, "samples": 1000, "batch": 100}
SHORT = {**CHOSEN, "passes": 4, "samples": 2000, "batch": 100}
"""By the images that may choose, at three bits (docs/evolq_measured.md): many images and few
passes, for 400 images were learned by heart. The pass is kept that images held back prefer, or the
start: digits have few images in doubt, where all divergence comes from.
"""
SURE = {"codes": "frozen", "margin": 1.0}
"""Where little is left to find, a gain on held-out images has to be more than chance."""
WIDER = {**CHOSEN, "passes": 1, "samples": 1000, "batch": 100}
REDUCED = {**CHOSEN, "passes": 1, "samples": 120, "batch": 24}
STORIES = {**CHOSEN, "passes": 4, "samples": 36, "batch": 6}
"""At 8 bits by 0.02: by 0.05 the held-back stories preferred every start, by 0.005 they gained
less.
"""
TINY = {"passes": 1, "children": 1, "samples": 48, "batch": 16, "held_back": 0.34}

NETWORKS = (
    "mnist_vit_prenorm", "cifar10_vit_prenorm", "cifar10_vit_postnorm", "imagenet_vit_tiny16",
    "lm_stories260k",
)  # fmt: skip
GRIDS = {"imagenet_vit_tiny16": (*WIDE, NARROWEST), "lm_stories260k": LANGUAGE}
"""Of networks that need grids of their own."""
QUICK = Budget(
    {
        "mnist_vit_prenorm": Schedule(300, SMALL, EVERY, POWER_PAIRS, SURE),
        "cifar10_vit_prenorm": Schedule(600, SHORT, EVERY, POWER_PAIRS, SURE),
        "cifar10_vit_postnorm": Schedule(600, WIDER, (*PLAIN, NARROWEST)),
        "imagenet_vit_tiny16": Schedule(900, REDUCED, GRIDS["imagenet_vit_tiny16"]),
        "lm_stories260k": Schedule(
            600, STORIES, GRIDS["lm_stories260k"], at_8_bits={"width": 0.02}
        ),
    },
    seeds=3, reported=6000, iterations=300,
    speed=("imagenet_vit_tiny16", 16, 8), rounds=(3, 30),
)  # fmt: skip
FULL = Budget(
    {
        name: Schedule(24 * 3600, RELEASED, GRIDS.get(name, EVERY),
                       () if name in GRIDS else POWER_PAIRS)
        for name in NETWORKS
    },
    seeds=3, reported=6000, iterations=500,
    speed=("imagenet_vit_tiny16", 64, 32), rounds=(5, 30),
)  # fmt: skip
TRIAL = Budget(
    {"mnist_vit_prenorm": Schedule(120, TINY, (*PLAIN, *ROUNDED), POWER_PAIRS)},
    seeds=2, reported=64, iterations=3, speed=("mnist_vit_prenorm", 16, 8), rounds=(2, 2),
)  # fmt: skip
BUDGETS = {"quick": QUICK, "full": FULL, "trial": TRIAL}
