"""Small pictures of where a tensor's values lie, with its grid drawn in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from deployq.html_report.axis import Axis
from deployq.verifier.ranges import TensorRange

MOST_LINES = 16
"""A grid of more codes is drawn as its two ends."""
HEIGHT = 60
MANY, WORST = 24, 10
"""More cards than the first are folded away, and the second number shown."""
WORTH_SAYING = 0.01
"""Share of values outside the grid from which the card points it out."""


@dataclass(frozen=True)
class RangeCard:
    """One picture, in a box of 100 by :data:`HEIGHT`.

    Args:
        facts: what it shows.
        path: outline of the histogram; heights are square roots of counts.
        band: left end and width of the grid.
        lines: places of the grid's codes, or of its two ends.
        zero: place of the value 0.
        left, right: values at the two sides of the picture.
        clipped: the share outside the grid is worth saying.
    """

    facts: TensorRange
    path: str
    band: tuple[float, float]
    lines: tuple[float, ...]
    zero: float
    left: float
    right: float
    clipped: bool


@dataclass(frozen=True)
class RangeGroup:
    """All tensors of one kind.

    Args:
        title, unit: in words.
        measured: the values are those of the samples.
        cards: in the order of the network.
        worst: where there are many, those with the most values outside their grids; else none.
    """

    title: str
    unit: str
    measured: bool
    cards: tuple[RangeCard, ...]
    worst: tuple[RangeCard, ...]


def range_groups(ranges: Sequence[TensorRange]) -> tuple[RangeGroup, RangeGroup]:
    """Activations, then weights."""
    activations, weights = (range_cards(ranges, kind) for kind in ("activation", "weight"))
    own, steps = "in the network's own units", "in steps of their channel's scale"
    return (
        RangeGroup("Activations", own, True, activations, _worst(activations)),
        RangeGroup("Weights", steps, False, weights, _worst(weights)),
    )


def _worst(cards: tuple[RangeCard, ...]) -> tuple[RangeCard, ...]:
    ranked = sorted(cards, key=lambda card: -card.facts.outside)
    return tuple(ranked[:WORST]) if len(cards) > MANY else ()


def range_cards(ranges: Sequence[TensorRange], kind: str) -> tuple[RangeCard, ...]:
    """The cards of all tensors of one kind, ``activation`` or ``weight``."""
    return tuple(_card(facts) for facts in ranges if facts.kind == kind)


def _card(facts: TensorRange) -> RangeCard:
    low, high = facts.grid
    axis = Axis.over([facts.low, facts.high, low, high])
    codes = facts.codes[1] - facts.codes[0]
    wanted = codes if codes < MOST_LINES else 1
    lines = tuple(axis.at(low + (high - low) * n / wanted) for n in range(wanted + 1))
    band = (axis.at(low), round(axis.at(high) - axis.at(low), 2))
    return RangeCard(
        facts, _outline(axis, facts), band, lines, axis.at(0.0), axis.low, axis.high,
        facts.outside >= WORTH_SAYING,
    )  # fmt: skip


def _outline(axis: Axis, facts: TensorRange) -> str:
    """SVG path of the histogram, closed at the bottom; a lone value is a needle."""
    top = max(facts.counts, default=0)
    if not top:
        return ""
    left, right = axis.at(facts.low), axis.at(facts.high)
    if facts.low == facts.high:
        left, right = left - 0.5, right + 0.5
        return f"M{left:g} {HEIGHT}V4H{right:g}V{HEIGHT}Z"
    width = (right - left) / len(facts.counts)
    parts = [f"M{left:g} {HEIGHT}"]
    for number, count in enumerate(facts.counts, 1):
        height = HEIGHT - (HEIGHT - 4) * (count / top) ** 0.5
        parts.append(f"V{round(height, 1):g}H{round(left + number * width, 2):g}")
    return "".join([*parts, f"V{HEIGHT}Z"])
