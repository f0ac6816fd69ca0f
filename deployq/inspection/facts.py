"""The facts of an inspection, all frozen and plain."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Grid:
    """The integers of one tensor and what they stand for.

    Args:
        qtype: name of the codes' type, ``s4``.
        codes: lowest and highest code.
        granularity: ``tensor``, ``channel`` or ``block``: what shares a scale.
        scales: how many.
        scale: lowest and highest.
        zero_point: lowest and highest.
        covers: lowest and highest real value that any of the scales reaches.
    """

    qtype: str
    codes: tuple[int, int]
    granularity: str
    scales: int
    scale: tuple[float, float]
    zero_point: tuple[int, int]
    covers: tuple[float, float]


@dataclass(frozen=True)
class Weight:
    """Constant operands of a linear layer.

    Args:
        shape: (O, C/g, kh, kw) of Conv; (K, N) of Gemm and MatMul.
        grid: of the weight codes.
        size: bytes of the weight codes in their ONNX container, two 4-bit codes to a byte.
        bias: name of the bias codes' type, ``f32`` for reals; None without bias.
        bias_size: bytes of the bias codes.
    """

    shape: Shape
    grid: Grid
    size: int
    bias: str | None
    bias_size: int


@dataclass(frozen=True)
class Row:
    """One integer operator and the tensor that it writes.

    Args:
        name: of the tensor.
        operator: ONNX operator type.
        weight: None for operators without weights.
        grid: of the output's codes; None for a layer that returns reals.
        shape: of the output for one sample; None where the file leaves dimensions free.
        size: bytes of the output's codes, or reals, for one sample, packed; None without shape.
        macs: multiply-accumulates for one sample; 0 where nothing is multiplied, None without
            shape.
        share: part of all multiply-accumulates, in [0, 1]; None without shape.
    """

    name: str
    operator: str
    weight: Weight | None
    grid: Grid | None
    shape: Shape | None
    size: int | None
    macs: int | None
    share: float | None


@dataclass(frozen=True)
class Inspection:
    """A whole file.

    Args:
        source: name of the bundle or file.
        target: whose contract the bundle follows; None for a bare file.
        rows: in the order in which the operators run.
        parameters: weight and bias codes.
        size: bytes of these codes in their containers.
        macs: multiply-accumulates of one sample; None where the file leaves dimensions free.
        live_size: bytes of the largest set of activations alive at once for one sample, operators
            in order, each with its operands and result, moved codes counted as copies.
        live_at: the row where that is.
        integer_share: part of the multiply-accumulates that the plan keeps in integers; of a bare
            file all, because another is not read.
        floats: what the plan leaves in float, with the reason; of a bare file, its operators in
            float.
        files: name and bytes of each file of a bundle, or of the file.
    """

    source: str
    target: str | None
    rows: tuple[Row, ...]
    parameters: int
    size: int
    macs: int | None
    live_size: int | None
    live_at: str | None
    integer_share: float | None
    floats: tuple[str, ...]
    files: tuple[tuple[str, int], ...]

    def to_json(self) -> dict[str, Any]:
        """Plain data for ``--json``."""
        return asdict(self)
