"""The shape of one operator, in the words that ``[[op]]`` entries use."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Extent:
    """Channels, height and width of one tensor of one sample; what it has not is 1."""

    c: int
    h: int
    w: int


@dataclass(frozen=True)
class OperatorShape:
    """What limits speak of. Without a window: kernel, strides and dilations 1, pads 0.

    Args:
        kernel, strides, dilations: rows, columns.
        pads: top, left, bottom, right.
        inputs: of each activation that is read.
        output: of what is made.
        dims: every extent of inputs and output, without the batch.
    """

    inputs: tuple[Extent, ...]
    output: Extent
    dims: tuple[int, ...]
    kernel: tuple[int, int] = (1, 1)
    strides: tuple[int, int] = (1, 1)
    dilations: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)

    @property
    def scale(self) -> float | None:
        """Output height over input height; None where columns have another, or none is an int."""
        source = self.inputs[0] if self.inputs else self.output
        rows, columns = self.output.h / source.h, self.output.w / source.w
        return rows if rows == columns else None
