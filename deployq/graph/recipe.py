"""Recipe: what the user wants of a preparation, as opposed to what the target can do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase


@dataclass(frozen=True)
class LayerRecipe:
    """Widths for the layers that a pattern names; None leaves the recipe's own."""

    weight_bits: int | None = None
    activation_bits: int | None = None


@dataclass(frozen=True)
class Recipe:
    """Bit-widths of a preparation.

    Args:
        weight_bits: width of every weight; None takes the profile's first.
        activation_bits: width of every activation; None takes the profile's first.
        layers: glob pattern over layer names to widths; the last match wins.
    """

    weight_bits: int | None = None
    activation_bits: int | None = None
    layers: Mapping[str, LayerRecipe] = field(default_factory=dict)

    def weight_bits_of(self, layer: str) -> int | None:
        """Requested weight width of a layer."""
        matches = (rule.weight_bits for rule in self._rules(layer) if rule.weight_bits)
        return next(matches, self.weight_bits)

    def activation_bits_of(self, layer: str) -> int | None:
        """Requested width of a layer's output."""
        matches = (rule.activation_bits for rule in self._rules(layer) if rule.activation_bits)
        return next(matches, self.activation_bits)

    def _rules(self, layer: str) -> list[LayerRecipe]:
        last_first = reversed(list(self.layers.items()))
        return [rule for pattern, rule in last_first if fnmatchcase(layer, pattern)]
