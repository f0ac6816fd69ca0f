"""Preprocessing folded into scale and zero point: when is an image's byte itself the code?

    real = (scale(p) - mean) / std = (p - zero_point) * s    for every p in 0..255

holds for one ``s`` and one integer ``zero_point`` only where the map is the same for every channel
and 0.0 falls on a byte. Both sides are float32, so the claim is tried on all 256 bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from deployq import affine
from deployq.qparams import QParams
from deployq.qtypes import QType
from deployq.sources.preprocessing import CHANNELS, Preprocessing

BYTE = QType(8, False)
BYTES = np.arange(256, dtype=np.uint8)


@dataclass(frozen=True)
class PixelGrid:
    """The grid on which the code of a preprocessed byte is that byte.

    Args:
        scale: a float32 value.
        zero_point: the byte that becomes 0.0.
    """

    scale: float
    zero_point: int

    def qparams(self, qtype: QType) -> QParams:
        """Parameters for codes of 8 bits; signed ones are the byte less 128."""
        return QParams(
            qtype, np.asarray(self.scale, np.float32), np.asarray(self.zero_point + qtype.qmin)
        )


def pixel_grid(preprocessing: Preprocessing) -> PixelGrid | str:
    """The grid of a preprocessing, or why there is none, as a clause."""
    slope, offset = _affine_of_scale(preprocessing)
    maps = {_channel_map(slope, offset, preprocessing, i) for i in range(_channels(preprocessing))}
    if len(maps) > 1:
        return "mean or std differs by channel, and a tensor has one scale and one zero point"
    slope, offset = maps.pop()
    zero_point = -offset / slope
    if zero_point.denominator != 1 or not 0 <= zero_point <= BYTES[-1]:
        return f"0.0 is at pixel {float(zero_point):g}, which is no code of 0..255"
    grid = PixelGrid(float(np.float32(float(slope))), int(zero_point))
    wrong = mismatches(preprocessing, grid.qparams(BYTE))
    return grid if not wrong else f"float32 rounding moves {wrong} of the 256 pixel values"


def mismatches(preprocessing: Preprocessing, qparams: QParams) -> int:
    """How many bytes, over all channels, have another code than themselves (less 128 if signed)."""
    channels = CHANNELS[preprocessing.channels]
    image = np.repeat(BYTES[:, None], channels, axis=1).reshape(1, 256, 1, channels)
    codes = affine.quantize(preprocessing.normalise(image), qparams).astype(np.int64)
    planes = codes.reshape(channels, 256) if preprocessing.layout == "nchw" else codes[0, :, 0].T
    return int((planes - qparams.qtype.qmin != BYTES).any(axis=0).sum())


def _affine_of_scale(preprocessing: Preprocessing) -> tuple[Fraction, Fraction]:
    """Slope and offset of what is done to a byte, exactly, from the numbers as written."""
    slope, offset = Fraction(1), Fraction(0)
    for step, value in preprocessing.steps:
        number = Fraction(str(value))
        if step in "*/":
            factor = number if step == "*" else 1 / number
            slope, offset = slope * factor, offset * factor
        else:
            offset += number if step == "+" else -number
    return slope, offset


def _channels(preprocessing: Preprocessing) -> int:
    return max(len(preprocessing.mean), len(preprocessing.std), 1)


def _channel_map(
    slope: Fraction, offset: Fraction, preprocessing: Preprocessing, channel: int
) -> tuple[Fraction, Fraction]:
    mean, std = (
        Fraction(str(values[channel if len(values) > 1 else 0])) if values else Fraction(default)
        for values, default in ((preprocessing.mean, 0), (preprocessing.std, 1))
    )
    return slope / std, (offset - mean) / std
