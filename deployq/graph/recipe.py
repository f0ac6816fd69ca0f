"""Recipe: what the user wants of a preparation, as opposed to what the target can do."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from fnmatch import fnmatchcase

from deployq.errors import InputError
from deployq.sources.preprocessing import Preprocessing

NEAREST = 3
"""Names that an error offers."""


@dataclass(frozen=True)
class LayerRecipe:
    """What the layers that a pattern names become; None leaves what the recipe says.

    Args:
        weight_bits, activation_bits: widths.
        keep_float: True leaves the layers in float, False takes that back.
        per_channel: a scale for each output channel, or one for the layer.
    """

    weight_bits: int | None = None
    activation_bits: int | None = None
    keep_float: bool | None = None
    per_channel: bool | None = None

    @property
    def speaks_of_layers(self) -> bool:
        """True where something of it concerns weights: only linear layers have them."""
        return (self.weight_bits, self.keep_float, self.per_channel) != (None, None, None)


@dataclass(frozen=True)
class Recipe:
    """Bit-widths, granularity and what stays in float.

    Args:
        weight_bits: width of every weight; None takes the profile's first.
        activation_bits: width of every activation; None takes the profile's first.
        layers: glob pattern over layer names to what they become; the last match wins.
        first_bits, last_bits: weight width of the first and the last layers (see
            ``deployq.graph.edge_layers``); None takes the profile's ``weight.edge_bits``, else
            that of every layer. A pattern of ``layers`` with a width wins.
        images: input to the preprocessing whose pixels shall be its codes, where that is exact.
    """

    weight_bits: int | None = None
    activation_bits: int | None = None
    layers: Mapping[str, LayerRecipe] = field(default_factory=dict)
    first_bits: int | None = None
    last_bits: int | None = None
    images: Mapping[str, Preprocessing] = field(default_factory=dict)

    def weight_bits_of(self, layer: str, edge: int | None = None) -> int | None:
        """Requested weight width of a layer; ``edge`` is what its place in the network asks."""
        matches = (rule.weight_bits for rule in self._rules(layer))
        general = self.weight_bits if edge is None else edge
        return next((bits for bits in matches if bits is not None), general)

    def activation_bits_of(self, layer: str) -> int | None:
        """Requested width of a layer's output."""
        matches = (rule.activation_bits for rule in self._rules(layer))
        return next((bits for bits in matches if bits is not None), self.activation_bits)

    def keeps_float(self, layer: str) -> bool:
        """Whether a layer stays in float."""
        matches = (rule.keep_float for rule in self._rules(layer))
        return next((kept for kept in matches if kept is not None), False)

    def per_channel_of(self, layer: str) -> bool | None:
        """Requested granularity of a layer's weight scales; None takes the profile's."""
        matches = (rule.per_channel for rule in self._rules(layer))
        return next((wanted for wanted in matches if wanted is not None), None)

    def check_names(self, tensors: Collection[str], layers: Collection[str]) -> None:
        """Refuse a pattern that speaks of nothing.

        Args:
            tensors: names of everything that has an activation width.
            layers: names of everything that has a weight width.

        Raises:
            InputError: with the nearest names.
        """
        for pattern, rule in self.layers.items():
            known = layers if rule.speaks_of_layers else tensors
            if not any(fnmatchcase(name, pattern) for name in known):
                raise InputError(
                    f"recipe: {pattern}",
                    "a pattern of the recipe names at least one layer",
                    found="none of that name",
                    allowed=f"nearest: {', '.join(_nearest(pattern, known))}",
                    next_step="correct the pattern",
                )

    def _rules(self, layer: str) -> list[LayerRecipe]:
        last_first = reversed(list(self.layers.items()))
        return [rule for pattern, rule in last_first if fnmatchcase(layer, pattern)]


def _nearest(pattern: str, known: Collection[str]) -> list[str]:
    return get_close_matches(pattern, sorted(known), NEAREST, cutoff=0.0)
