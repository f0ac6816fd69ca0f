"""The integer nodes: what each operator computes, with all its constants, frozen.

Tensors are code tensors and are named as in the file; codes that the file only has as reals take
that tensor's name and ``.codes`` or ``.moved``. ``IntegerGraph.qparams`` gives each its meaning.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from deployq.arithmetic.form_names import (
    form_name,
    function_form_name,
    pool_form_name,
    product_form_name,
)
from deployq.arithmetic.geometry import ConvGeometry, PoolGeometry
from deployq.arithmetic.oracle.lookup import UnaryParams
from deployq.arithmetic.row_norms import RowNorm
from deployq.errors import InputError
from deployq.qparams import FloatArray, IntArray, PerChannel, QParams
from deployq.qtypes import QType

Bounds = tuple[int, int]

OUTPUTS_FIRST = ("Conv", "ConvTranspose")
"""Operators whose weights have the output channels first; Gemm and MatMul have the inputs first."""


@dataclass(frozen=True, kw_only=True)
class Node:
    """One integer operator.

    Args:
        name: of the ONNX node it came from.
        op_type: ONNX operator that it computes.
        inputs: names of the code tensors it reads.
        output: name of the code tensor it writes.
        bounds: lowest and highest code that a fused Relu or Clip leaves; None for the whole type.
    """

    name: str
    op_type: str
    inputs: tuple[str, ...]
    output: str
    bounds: Bounds | None = None

    @property
    def form_name(self) -> str:
        """What a contract has its form under."""
        return self.op_type

    @property
    def writes_codes(self) -> bool:
        """False where the output is reals: ``output`` then has no parameters."""
        return True


@dataclass(frozen=True, kw_only=True)
class Quantize(Node):
    """Reals to codes (law 1): of a graph input, or of an operator that runs in float."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Product(Node):
    """Exact sums of products.

    Args:
        in_reals: the output is what the sums stand for; no codes are written.
    """

    in_reals: bool = False

    @property
    def writes_codes(self) -> bool:
        return not self.in_reals


@dataclass(frozen=True, kw_only=True, eq=False)
class Linear(Product):
    """Conv, ConvTranspose, Gemm or MatMul with constant weights.

    Its second input, if any, is an addend: reals read from codes, added between the
    multiplication and the rounding. The sums do not hold it.

    Args:
        weight: codes, (O, C/g, kh, kw) for Conv and ConvTranspose, (K, N) for Gemm and MatMul.
        weight_qparams: per tensor, or per output channel (Conv and ConvTranspose axis 0, Gemm and
            MatMul axis 1); of any granularity in a graph that was read as stated.
        bias: (O,) or (N,) codes with scale ``s_x * s_w`` and zero point 0, if any; on its own
            parameters in a graph that was read as stated.
        bias_step: float64 (O,) or (N,) reals that a unit of ``bias`` stands for, where that is not
            ``s_x * s_w``: a target that adds the bias after the scale has a scale for it alone.
        bias_type: of the codes that the file holds; None where it holds reals.
        bias_qparams: of these codes, as the file states them; None where it states none.
        geometry: of a Conv; a ConvTransposeGeometry of a ConvTranspose.

    Raises:
        InputError: weight, bias and groups do not fit each other.
        QuantizationError: there is not a scale for each part of the weight.
    """

    weight: IntArray
    weight_qparams: QParams
    bias: IntArray | None
    bias_step: FloatArray | None = None
    bias_type: QType | None = None
    bias_qparams: QParams | None = None
    geometry: ConvGeometry = field(default_factory=ConvGeometry)

    @property
    def form_name(self) -> str:
        return form_name(self.op_type, self.weight.shape, self.geometry)

    def removed(self, zero_point: int) -> IntArray:
        """(O,) or (N,) int64: what an input's zero point adds to the sums of raw codes."""
        axes = tuple(range(1, self.weight.ndim)) if self.op_type in OUTPUTS_FIRST else (0,)
        sums: IntArray = self.weight.astype(np.int64).sum(axes)
        return zero_point * sums

    def __post_init__(self) -> None:
        windows = self.op_type in OUTPUTS_FIRST
        rank, shape = 4 if windows else 2, self.weight.shape
        if self.weight.ndim != rank or not self.weight.size:
            raise InputError(
                "weight",
                "a weight has outputs, inputs and, of a convolution, rows and columns",
                found=f"shape {shape}",
                allowed=f"{rank} axes, none of them empty",
            )
        outputs = shape[0] if windows else shape[1]
        if self.weight_qparams.granularity == PerChannel(0 if windows else 1):
            self.weight_qparams.check_shape(shape)
        if self.bias is not None and self.bias.shape != (outputs,):
            raise InputError(
                "bias",
                "a bias has one value for each output channel",
                found=f"shape {self.bias.shape}",
                allowed=f"({outputs},)",
            )
        if windows:
            self.geometry.check_channels(shape[1] * self.geometry.groups, shape)

    @property
    def addend(self) -> str | None:
        """The code tensor that is added before the rounding (see ``arithmetic.addends``)."""
        return self.inputs[1] if len(self.inputs) > 1 else None

    @property
    def channel_axis(self) -> int:
        """Axis of ``weight`` with one index for each output channel."""
        return 1 if self.weight.ndim == 2 else 0


@dataclass(frozen=True, kw_only=True)
class MatMul(Product):
    """Product of two code tensors, (..., M, K) and (..., K, N); leading axes broadcast.

    Args:
        shifted: see ``QParams.is_shifted``, of the second.
    """

    shifted: bool

    @property
    def form_name(self) -> str:
        return product_form_name(shifted=self.shifted)


@dataclass(frozen=True, kw_only=True)
class Elementwise(Node):
    """Add or Mul of two code tensors, which broadcast."""


@dataclass(frozen=True, kw_only=True)
class Pool(Node):
    """AveragePool, MaxPool, or GlobalAveragePool (no geometry)."""

    geometry: PoolGeometry | None = None

    @property
    def form_name(self) -> str:
        return pool_form_name(self.op_type, self.geometry)


@dataclass(frozen=True, kw_only=True)
class Concat(Node):
    """Parts joined along ``axis``, each rescaled to the output's parameters."""

    axis: int


@dataclass(frozen=True, kw_only=True)
class Lookup(Node):
    """A function of one value."""

    params: UnaryParams = field(default_factory=UnaryParams)

    @property
    def form_name(self) -> str:
        return function_form_name(self.op_type)


@dataclass(frozen=True, kw_only=True)
class Softmax(Node):
    """Shares along the last axis."""


@dataclass(frozen=True, kw_only=True, eq=False)
class RowNormalization(Node):
    """LayerNormalization or RMSNormalization along the last axis (see ``qgraph.row_norms``)."""

    norm: RowNorm


@dataclass(frozen=True, kw_only=True)
class Rescale(Node):
    """The same reals under other parameters (a QuantizeLinear behind a DequantizeLinear)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Move(Node):
    """Codes moved, dropped, padded or clipped; no arithmetic.

    Input and output have the same parameters, save for an Identity that a file makes by reading
    codes with other parameters than they were written with.

    Args:
        attributes: by operator, with ONNX's names: ``shape`` (0 and -1 as in ONNX), ``perm``,
            ``axes``, ``starts``, ``ends``, ``steps``, ``axis``, ``indices``, ``pads``, ``mode``,
            ``value`` (the code that Pad adds; None for that of ``real``, 0 or an infinity); of
            Resize, rows and columns each, ``scales`` (whole factors) or ``sizes``, the other None.
    """

    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Dequantize(Node):
    """Codes to reals: a graph output, or what an operator in float reads."""

    @property
    def writes_codes(self) -> bool:
        return False


@dataclass(frozen=True, kw_only=True, eq=False)
class Float(Node):
    """An operator that runs in float32 (law 3): inputs and output are reals.

    Args:
        operator: the ONNX node as the file has it.
        opset: version of the standard operators in the file.
        constants: inputs that are constant, by their names in ``operator``.
    """

    operator: onnx.NodeProto
    opset: int
    constants: Mapping[str, npt.NDArray[Any]]

    @property
    def writes_codes(self) -> bool:
        return False


@dataclass(frozen=True, eq=False)
class IntegerGraph:
    """A whole model in integers.

    Args:
        nodes: in an order that respects the data flow; all compute on codes, but those that
            :attr:`floats` lists.
        qparams: parameters of every code tensor, constants included.
        inputs: names of the graph inputs, real or integer.
        outputs: names of the graph outputs, real or integer.
        constants: codes of the constant tensors that nodes read as operands, int64. Weights and
            biases are fields of their nodes.
    """

    nodes: tuple[Node, ...]
    qparams: Mapping[str, QParams]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    constants: Mapping[str, IntArray] = field(default_factory=dict)

    @property
    def in_reals(self) -> tuple[Node, ...]:
        """The operators whose output is reals: those in float, and products that end in reals."""
        return tuple(n for n in self.nodes if not (n.writes_codes or isinstance(n, Dequantize)))

    @property
    def floats(self) -> tuple[Float, ...]:
        """The operators that run in float."""
        return tuple(node for node in self.nodes if isinstance(node, Float))
