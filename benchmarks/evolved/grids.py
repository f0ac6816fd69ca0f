"""Widths on a target; first and last layers have those of the rest.

A new row of every table is one line here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.wide_sums import WIDE_SUMS
from deployq.graph.recipe import Recipe

HERE = Path(__file__).parent
NARROW, POWERS = str(HERE / "w3-npu.toml"), str(HERE / "w3-npu-pow2.toml")


@dataclass(frozen=True)
class Grid:
    """Widths on a target, and how scales are chosen before a search.

    Args:
        name: as tables say it.
        target: profile.
        weights: bits.
        corrections: of calibration.
        activations: bits.
        on_lattice: activations' scales make the lattice of the weights', and stay.
        wide_sums: residual sums have 16 bits.
    """

    name: str
    target: str
    weights: int
    corrections: tuple[str, ...] = ()
    activations: int = 8
    on_lattice: bool = False
    wide_sums: bool = False

    @property
    def rounded(self) -> bool:
        """Codes were learned, and stay."""
        return "rounding" in self.corrections

    def recipe(self) -> Recipe:
        """What ``prepare`` is asked for."""
        layers = WIDE_SUMS if self.wide_sums else {}
        return Recipe(self.weights, self.activations, layers)


PLAIN = (Grid("W8A8", NARROW, 8), Grid("W4A8", NARROW, 4), Grid("W3A8", NARROW, 3))
"""Post-training scales, which the search starts from."""
WIDE = tuple(replace(grid, name=f"{grid.name} wide sums", wide_sums=True) for grid in PLAIN)
"""The same where 8 bits do not hold the residual."""
POWER_PAIRS = tuple(
    (grid, Grid(f"{grid.name} pow2", POWERS, grid.weights)) for grid in PLAIN if grid.weights < 8
)
"""Float scales as they are, and power-of-two scales that are searched."""
ROUNDED = tuple(
    Grid(f"{grid.name} rounded", grid.target, grid.weights, ("rounding",))
    for grid in PLAIN
    if grid.weights < 8
)
"""Codes that learned rounding chose; the search keeps them."""
NARROWEST = Grid("W4A4", "lowbit-vlsi", 4, activations=4, on_lattice=True)
"""Integers alone, LayerNorm and Softmax among them; its multipliers are short: a lattice."""
EVERY = (*PLAIN, *ROUNDED, NARROWEST)
LANGUAGE = tuple(replace(grid, target=str(HERE / "w3-cpu.toml")) for grid in PLAIN)
"""Embeddings and RMSNorm, which the narrow targets do not have."""
DEPLOYED = Grid("ort-cpu W8A8", "ort-cpu", 8, ("factors",))
"""What the peers' files are compared with."""
