"""Strides, pads, dilations and groups of sliding-window operators, with ONNX's field order."""

from __future__ import annotations

from dataclasses import dataclass

from deployq.errors import InputError

Pair = tuple[int, int]
Pads = tuple[int, int, int, int]


def output_length(size: int, kernel: int, stride: int, pad: int, dilation: int = 1) -> int:
    """Window positions along one axis, rounded down (ONNX ``ceil_mode = 0``).

    Args:
        size: cells of the input axis.
        pad: begin and end padding together.

    Raises:
        InputError: the window is longer than the padded axis.
    """
    free = size + pad - dilation * (kernel - 1) - 1
    if free < 0:
        raise InputError(
            "window",
            "a window fits into its padded input",
            found=f"kernel {kernel} with dilation {dilation} over {size} + {pad} cells",
            allowed=f"at most {size + pad} cells",
            next_step="check the input size of the model",
        )
    return free // stride + 1


def _check(what: str, strides: Pair, pads: Pads, others: tuple[int, ...]) -> None:
    if min(strides + others) < 1 or min(pads) < 0:
        raise InputError(
            what,
            "strides, kernel, dilations and groups are positive and pads are not negative",
            found=f"strides {strides}, pads {pads}, others {others}",
            allowed=">= 1, pads >= 0",
        )


@dataclass(frozen=True)
class ConvGeometry:
    """Where the window of a two-dimensional convolution goes (ONNX Conv).

    Args:
        strides: rows, columns.
        pads: top, left, bottom, right. A padding cell holds the zero point and so adds nothing.
        dilations: rows, columns.
        groups: the input and output channels split into this many independent convolutions.

    Raises:
        InputError: a stride, dilation or group count below 1, or a negative pad.
    """

    strides: Pair = (1, 1)
    pads: Pads = (0, 0, 0, 0)
    dilations: Pair = (1, 1)
    groups: int = 1

    def __post_init__(self) -> None:
        _check("ConvGeometry", self.strides, self.pads, (*self.dilations, self.groups))

    def output_size(self, size: Pair, kernel: Pair) -> Pair:
        """(rows, columns) of the output for an input of ``size`` and a window of ``kernel``."""
        top, left, bottom, right = self.pads
        return (
            output_length(size[0], kernel[0], self.strides[0], top + bottom, self.dilations[0]),
            output_length(size[1], kernel[1], self.strides[1], left + right, self.dilations[1]),
        )

    def check_channels(self, channels: int, weight_shape: tuple[int, ...]) -> None:
        """Raises InputError unless (O, C/g, kh, kw) weights fit ``channels`` input channels."""
        out, per_group = weight_shape[:2]
        if channels != per_group * self.groups or out % self.groups:
            raise InputError(
                "weight",
                "weights have shape (O, C / groups, kh, kw) and groups divides O",
                found=f"weights {weight_shape}, {channels} input channels, {self.groups} groups",
            )


@dataclass(frozen=True)
class ConvTransposeGeometry(ConvGeometry):
    """Where a two-dimensional transposed convolution puts its windows (ONNX ConvTranspose).

    Input cell (y, x) adds its window at output cell ``(y sh - top, x sw - left)``; cells outside
    the output are dropped.

    Args:
        strides, pads, dilations, groups: as ONNX has them; pads cut the output.
        output_padding: rows and columns added at the bottom and the right.

    Raises:
        InputError: as :class:`ConvGeometry`, or an output padding that is negative or not shorter
            than stride and dilation both.
    """

    output_padding: Pair = (0, 0)

    def __post_init__(self) -> None:
        _check("ConvTransposeGeometry", self.strides, self.pads, (*self.dilations, self.groups))
        steps = [max(pair) for pair in zip(self.strides, self.dilations, strict=True)]
        extra = zip(self.output_padding, steps, strict=True)
        if not all(0 <= cells < step for cells, step in extra):
            raise InputError(
                "ConvTransposeGeometry",
                "output padding is shorter than the stride or the dilation",
                found=f"output padding {self.output_padding}",
                allowed=f"0 to {steps[0] - 1} rows and 0 to {steps[1] - 1} columns",
            )

    def whole_size(self, size: Pair, kernel: Pair) -> Pair:
        """(rows, columns) that all windows together cover, before pads cut them."""
        facts = zip(size, kernel, self.strides, self.dilations, strict=True)
        rows, columns = ((n - 1) * s + d * (k - 1) + 1 for n, k, s, d in facts)
        return rows, columns

    def margins(self) -> Pads:
        """Cells to add (or, negative, to cut) at top, left, bottom and right of the whole."""
        top, left, bottom, right = self.pads
        return -top, -left, self.output_padding[0] - bottom, self.output_padding[1] - right

    def output_size(self, size: Pair, kernel: Pair) -> Pair:
        """(rows, columns) of the output for an input of ``size`` and a window of ``kernel``."""
        rows, columns = self.whole_size(size, kernel)
        top, left, bottom, right = self.margins()
        if min(rows + top + bottom, columns + left + right) < 1:
            raise InputError(
                "window",
                "pads leave something of the output",
                found=f"pads {self.pads} of {rows} x {columns} cells",
                next_step="check the input size of the model",
            )
        return rows + top + bottom, columns + left + right


@dataclass(frozen=True)
class PoolGeometry:
    """Where the window of a two-dimensional pool goes (ONNX AveragePool, MaxPool).

    Args:
        kernel: rows, columns.
        strides: rows, columns.
        pads: top, left, bottom, right; each below the kernel, so no window is all padding.
        count_include_pad: an average divides by all cells of the window, not by the real ones.

    Raises:
        InputError: a kernel or stride below 1, a negative pad, or a pad as long as the kernel.
    """

    kernel: Pair
    strides: Pair = (1, 1)
    pads: Pads = (0, 0, 0, 0)
    count_include_pad: bool = False

    def __post_init__(self) -> None:
        _check("PoolGeometry", self.strides, self.pads, self.kernel)
        if max(self.pads[::2]) >= self.kernel[0] or max(self.pads[1::2]) >= self.kernel[1]:
            raise InputError(
                "PoolGeometry",
                "a pad is shorter than the kernel",
                found=f"pads {self.pads}, kernel {self.kernel}",
            )

    def output_size(self, size: Pair) -> Pair:
        """(rows, columns) of the output for an input of ``size``."""
        top, left, bottom, right = self.pads
        return (
            output_length(size[0], self.kernel[0], self.strides[0], top + bottom),
            output_length(size[1], self.kernel[1], self.strides[1], left + right),
        )

    def window(self, size: Pair, row: int, column: int) -> tuple[slice, slice]:
        """The real cells below the window at output position (row, column)."""
        top = row * self.strides[0] - self.pads[0]
        left = column * self.strides[1] - self.pads[1]
        bottom, right = top + self.kernel[0], left + self.kernel[1]
        return (slice(max(top, 0), min(bottom, size[0])), slice(max(left, 0), min(right, size[1])))

    def divisor(self, size: Pair, row: int, column: int) -> int:
        """What an average divides by at output position (row, column)."""
        if self.count_include_pad:
            return self.kernel[0] * self.kernel[1]
        rows, columns = self.window(size, row, column)
        return len(range(size[0])[rows]) * len(range(size[1])[columns])

    def covers(self, size: Pair) -> bool:
        """True when the only window is the whole map, unpadded."""
        return self.kernel == size and not any(self.pads)
