"""What a report says of each layer beside its codes."""

from __future__ import annotations

from dataclasses import dataclass

from deployq.verifier.ranges import TensorRange
from deployq.verifier.sqnr import LayerSqnr


@dataclass(frozen=True)
class LayerFacts:
    """What was measured.

    Args:
        samples: how many of the data.
        sqnr: one entry a quantized tensor, in graph order.
        ranges: activations, then weights, each in graph order.
    """

    samples: int
    sqnr: tuple[LayerSqnr, ...]
    ranges: tuple[TensorRange, ...]


NO_FACTS = LayerFacts(0, (), ())
