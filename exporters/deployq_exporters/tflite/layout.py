"""Order of axes: ONNX has (N, C, H, W), a ``.tflite`` file has (N, H, W, C).

Tensors of four axes are images here, whatever they mean; all others keep their order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from deployq.qparams import IntArray

Shape = tuple[int, ...]

FIRST = ".channels_first"
"""Ends the name of a tensor of four axes in ONNX's order; the rest is that of its codes."""

_IMAGE = (0, 2, 3, 1)


def file_axes(rank: int) -> Shape:
    """For each axis of the file's tensor, the axis of ONNX's that it is."""
    return _IMAGE if rank == len(_IMAGE) else tuple(range(rank))


def onnx_axes(rank: int) -> Shape:
    """For each axis of ONNX's tensor, the axis of the file's that it is."""
    axes = file_axes(rank)
    return tuple(axes.index(axis) for axis in range(rank))


def file_shape(shape: Sequence[int]) -> Shape:
    """The shape that a tensor has in the file."""
    return tuple(shape[axis] for axis in file_axes(len(shape)))


def to_file(codes: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A tensor in the file's order of axes."""
    return np.ascontiguousarray(codes.transpose(file_axes(codes.ndim)))


def from_file(codes: IntArray) -> IntArray:
    """A tensor of the file in ONNX's order of axes."""
    return np.ascontiguousarray(codes.transpose(onnx_axes(codes.ndim)))


def same_bytes(shape: Sequence[int]) -> bool:
    """True when both orders put the elements of a tensor of ONNX's shape one after the other alike.

    Axes of length 1 do not count.
    """
    moved = [axis for axis in file_axes(len(shape)) if shape[axis] > 1]
    return moved == sorted(moved)
