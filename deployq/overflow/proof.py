"""A whole proof: every layer of a file against one accumulator."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from deployq.arithmetic.contract import Accumulator
from deployq.overflow.facts import Layer, Position, Verdict


@dataclass(frozen=True)
class Witness:
    """An input of one layer that drives one channel to an end of its bound.

    Args:
        layer, operator: as :class:`Layer`.
        channel: of the output; None where all are alike.
        end: ``low`` or ``high``.
        position: of the sum in the layer's output, batch and channel included.
        bound: what the proof says of this sum.
        reached: what the simulator sums there.
    """

    layer: str
    operator: str
    channel: int | None
    end: str
    position: Position
    bound: int
    reached: int


@dataclass(frozen=True)
class OverflowProof:
    """All layers of a file against one accumulator.

    Args:
        source: name of the file or bundle.
        target: name of the profile.
        accumulator: its width, and what becomes of a sum beyond it.
        layers: in graph order, at least one.
        floats: operators that run in float and have no integer sums.
        samples: how many the seen sums are of; 0 without data.
        witnesses: what was asked for.
    """

    source: str
    target: str
    accumulator: Accumulator
    layers: tuple[Layer, ...]
    floats: tuple[str, ...] = ()
    samples: int = 0
    witnesses: tuple[Witness, ...] = ()

    @property
    def fits(self) -> bool:
        """True when no sum of any layer leaves the accumulator, whatever the input."""
        return all(layer.verdict(self.accumulator) is Verdict.FITS for layer in self.layers)

    def to_json(self) -> dict[str, Any]:
        """Plain data for ``--json``, every channel in it."""
        return {
            "file": self.source,
            "target": self.target,
            "accumulator": {
                "bits": self.accumulator.bits, "overflow": str(self.accumulator.overflow),
            },
            "fits": self.fits,
            "samples": self.samples,
            "floats": list(self.floats),
            "layers": [layer.to_json(self.accumulator) for layer in self.layers],
            "witnesses": [asdict(witness) for witness in self.witnesses],
        }  # fmt: skip
