"""QParams: scale, zero point, type and granularity of one tensor."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from deployq.errors import QuantizationError
from deployq.qtypes import QType

FloatArray: TypeAlias = npt.NDArray[np.floating]
IntArray: TypeAlias = npt.NDArray[np.integer]


@dataclass(frozen=True)
class PerTensor:
    """One scale for the tensor; parameters have rank 0."""

    def params_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of scale and zero point for a tensor of ``shape``."""
        return ()

    def expand(
        self, params: npt.NDArray[np.generic], shape: tuple[int, ...]
    ) -> npt.NDArray[np.generic]:
        """Parameters broadcastable to ``shape``."""
        return params


@dataclass(frozen=True)
class PerChannel:
    """One scale for each index of ``axis``: (C, I, H, W) with axis 0 has C scales."""

    axis: int

    def params_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (shape[self.axis],)

    def expand(
        self, params: npt.NDArray[np.generic], shape: tuple[int, ...]
    ) -> npt.NDArray[np.generic]:
        broadcast = [1] * len(shape)
        broadcast[self.axis] = shape[self.axis]
        return params.reshape(broadcast)


@dataclass(frozen=True)
class PerBlock:
    """One scale for each run of ``block_size`` elements along ``axis``; the last may be short.

    (K, N) with axis 0 and block size 32 has (ceil(K / 32), N) scales (ONNX DequantizeLinear-21).
    """

    axis: int
    block_size: int

    def params_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        dims = list(shape)
        dims[self.axis] = -(-shape[self.axis] // self.block_size)
        return tuple(dims)

    def expand(
        self, params: npt.NDArray[np.generic], shape: tuple[int, ...]
    ) -> npt.NDArray[np.generic]:
        repeated = np.repeat(params, min(self.block_size, shape[self.axis]), axis=self.axis)
        return np.take(repeated, np.arange(shape[self.axis]), axis=self.axis)


Granularity: TypeAlias = PerTensor | PerChannel | PerBlock


def granularity_to_json(granularity: Granularity) -> dict[str, int]:
    """``{}``, ``{"axis": 0}`` or ``{"axis": 0, "block_size": 32}``."""
    return dict(vars(granularity))


def granularity_from_json(facts: dict[str, int]) -> Granularity:
    """Inverse of :func:`granularity_to_json`."""
    if "block_size" in facts:
        return PerBlock(facts["axis"], facts["block_size"])
    return PerChannel(facts["axis"]) if "axis" in facts else PerTensor()


@dataclass(frozen=True, eq=False)
class QParams:
    """The affine map of one tensor: real = (code - zero_point) * scale.

    Args:
        qtype: the integer type of the codes.
        scale: float32, positive and finite; rank 0 per tensor, one axis per channel,
            the rank of the tensor per block.
        zero_point: integers in the range of ``qtype``, of the scale's shape; a Python int fills it.
        granularity: which elements share a scale.

    Raises:
        QuantizationError: a scale is not positive and finite, or a zero point is no code.
    """

    qtype: QType
    scale: FloatArray
    zero_point: IntArray = field(default_factory=lambda: np.zeros((), np.int64))
    granularity: Granularity = field(default_factory=PerTensor)

    def __post_init__(self) -> None:
        scale = np.array(self.scale, np.float32)
        zero_point = np.array(np.broadcast_to(self.zero_point, scale.shape), np.int64)
        scale.setflags(write=False)
        zero_point.setflags(write=False)
        object.__setattr__(self, "scale", scale)
        object.__setattr__(self, "zero_point", zero_point)
        self._check()

    def _check(self) -> None:
        if not (self.scale.size and np.isfinite(self.scale).all() and (self.scale > 0).all()):
            raise QuantizationError(
                "scale",
                "scales are positive and finite float32",
                found=str(self.scale.ravel()[:4].tolist()),
                allowed="> 0",
            )
        if isinstance(self.granularity, PerTensor) != (self.scale.ndim == 0):
            raise QuantizationError(
                "scale",
                "a per-tensor scale has rank 0, every other scale has not",
                found=f"shape {self.scale.shape} with {self.granularity}",
            )
        if isinstance(self.granularity, PerBlock) and self.granularity.block_size < 1:
            raise QuantizationError(
                "block_size",
                "a block has at least one element",
                found=str(self.granularity.block_size),
                allowed=">= 1",
            )
        low, high = int(self.zero_point.min(initial=0)), int(self.zero_point.max(initial=0))
        if low < self.qtype.qmin or high > self.qtype.qmax:  # 0 is a code of every type
            raise QuantizationError(
                "zero_point",
                "a zero point is a code of its type",
                found=f"{low}..{high}",
                allowed=str(self.qtype),
            )

    @property
    def is_shifted(self) -> bool:
        """A zero point is not the middle of the type: 0 of signed codes, 128 of unsigned bytes."""
        middle = 0 if self.qtype.signed else 1 << (self.qtype.bits - 1)
        return bool((self.zero_point != middle).any())

    @property
    def key(self) -> tuple[object, ...]:
        """Bytes of the parameters: equal keys, equal maps."""
        return (self.qtype, self.granularity, self.scale.tobytes(), self.zero_point.tobytes())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, QParams) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)

    def check_shape(self, shape: tuple[int, ...]) -> None:
        """Raises QuantizationError unless each part of a tensor of ``shape`` has a scale."""
        axis = 0 if isinstance(self.granularity, PerTensor) else self.granularity.axis
        inside = isinstance(self.granularity, PerTensor) or -len(shape) <= axis < len(shape)
        if not inside or self.granularity.params_shape(shape) != self.scale.shape:
            raise QuantizationError(
                "scale",
                "there is one scale for each part of the tensor",
                found=f"scales of shape {self.scale.shape} {self.granularity}",
                allowed=f"those of a tensor of shape {shape}",
                next_step="correct axis, block size or the scales",
            )

    def expanded(self, shape: tuple[int, ...]) -> tuple[FloatArray, IntArray]:
        """Scale and zero point, broadcastable to a tensor of ``shape``; errors as check_shape."""
        self.check_shape(shape)
        scale = self.granularity.expand(self.scale, shape)
        zero_point = self.granularity.expand(self.zero_point, shape)
        return scale, zero_point  # type: ignore[return-value] # expand keeps the element type
