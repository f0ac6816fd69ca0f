"""The sections that describe numbers: [activation], [weight], [weight.only] and [bias]."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from deployq.arithmetic.requant_words import BiasOrder
from deployq.qtypes import QType
from deployq_targets.section import Bits, Count, OpType, Section, Span, TypeName
from deployq_targets.words import (
    BiasForm,
    BiasScaleRule,
    BlockAxis,
    ScaleForm,
    Sharing,
    Symmetry,
    ZeroPointWord,
)

ZeroPoint: TypeAlias = ZeroPointWord | Span
BitsList: TypeAlias = Annotated[tuple[Bits, ...], Field(min_length=1)]
TypeList: TypeAlias = Annotated[tuple[TypeName, ...], Field(min_length=1)]
SharingList: TypeAlias = Annotated[tuple[Sharing, ...], Field(min_length=1)]
Axis: TypeAlias = int | Literal["n"]


BIAS_FILE_BITS = 32
"""Widest integers that ONNX's DequantizeLinear reads."""


def zero_points(rule: ZeroPoint, qtype: QType) -> tuple[int, int]:
    """The codes of ``qtype`` that may stand for 0.0, lowest and highest (low > high: none)."""
    low, high = qtype.qmin, qtype.qmax
    match rule:
        case ZeroPointWord.ANY:
            return low, high
        case ZeroPointWord.ZERO:
            return 0, 0
        case ZeroPointWord.RANGE_MIN:
            return low, low
        case ZeroPointWord.MID:
            middle = 0 if qtype.signed else 1 << (qtype.bits - 1)
            return middle, middle
        case _:
            return max(low, rule[0]), min(high, rule[1])


class FixedOutput(Section):
    """The output parameters that an operator has whatever the data."""

    scale: Annotated[float, Field(gt=0)]
    """Scale of the output, in real units per code."""
    zero_point: int
    """Zero point of the output."""


class InputOutput(Section):
    """What is different at the edges of the graph."""

    first_bits: Bits | None = None
    """Width of the graph's inputs; absent: as every activation."""
    last_bits: Bits | None = None
    """Width of the graph's outputs; absent: as every activation."""
    last_wide_bits: Bits | None = None
    """Width at which the last layer may give its accumulator without requantization."""
    float_edges: bool = True
    """The package's inputs and outputs are float, the outer Q and DQ are inside it.

    Concerns the target's package; ``graph.io`` is for the exchange file.
    """


class Activation(Section):
    """Tensors that are computed."""

    bits: BitsList
    """Widths, the default first."""
    types: TypeList
    """Types in order of preference.

    Where an unsigned type has its zero point at 0, it is for tensors that are never negative.
    """
    symmetry: Symmetry
    """How ranges are chosen."""
    zero_point: ZeroPoint
    """Codes that may stand for 0.0: a word or [low, high]."""
    granularity: SharingList = (Sharing.TENSOR,)
    """Which elements may share a scale."""
    narrow_range: bool = False
    """Signed types drop their lowest code: [-127, 127]."""
    scale_form: ScaleForm = ScaleForm.ANY
    """Which scales can be expressed."""
    scale_exp_range: Span | None = None
    """Lowest and highest log2 of a power-of-two scale."""
    io: InputOutput = InputOutput()
    """What is different at the edges of the graph."""
    fixed_output: Mapping[OpType, Mapping[TypeName, FixedOutput]] = {}
    """Operator and output type with fixed parameters: ``fixed_output.Softmax.u8 = {...}``."""

    def qtypes(self, bits: int) -> tuple[QType, ...]:
        """The types of one width, in order of preference; empty where the width has none."""
        parsed = (QType.parse(name) for name in self.types)
        return tuple(
            QType(bits, qtype.signed, self.narrow_range and qtype.signed and bits > 1)
            for qtype in parsed
            if qtype.bits == bits
        )


class WeightOnly(Section):
    """Quantized weights whose layer computes in float."""

    bits: BitsList
    """Widths, the default first."""
    types: TypeList
    """Types in order of preference."""
    block_sizes: tuple[Count, ...] = ()
    """Elements that share a scale, along block_axis."""
    block_axis: BlockAxis = BlockAxis.K
    """Axis that is cut into blocks."""
    block_tail: bool = False
    """The last block may be shorter."""
    op_types: tuple[OpType, ...] = ("MatMul", "Gemm")
    """Operators that take such weights."""


class Weight(Section):
    """Constant operands of Conv, Gemm, MatMul and their like."""

    bits: BitsList
    """Widths, the default first."""
    types: TypeList
    """Types in order of preference."""
    qmin: Mapping[Bits, int] = {}
    """Lowest code by width: the type's lowest, or one more (narrow range)."""
    qmax: Mapping[Bits, int] = {}
    """Highest code by width: the type's highest."""
    symmetry: Symmetry
    """How ranges are chosen."""
    zero_point: ZeroPoint
    """Codes that may stand for 0.0: a word or [low, high]."""
    equal_zero_points: bool = False
    """All channels of a tensor have the same zero point."""
    granularity: SharingList
    """Which elements may share a scale, the preferred one first."""
    axis: Mapping[OpType, Axis] = {}
    """Axis of the channel scales by operator; "n" is Gemm's output axis, which transB moves."""
    block_sizes: tuple[Count, ...] = ()
    """Elements that share a scale, along block_axis."""
    block_axis: BlockAxis = BlockAxis.K
    """Axis that is cut into blocks."""
    block_tail: bool = False
    """The last block may be shorter."""
    scale_form: ScaleForm = ScaleForm.ANY
    """Which scales can be expressed."""
    scale_exp_range: Span | None = None
    """Lowest and highest log2 of a power-of-two scale."""
    edge_bits: Bits | None = None
    """Width of the weights of the first and the last layers, which have no layer before or
    behind them, where the recipe asks for no other; absent: as every weight."""
    bits_per_layer: bool = True
    """Layers may differ in width; false: one width for the whole model."""
    constant: bool = False
    """Weights have to be initializers, never computed."""
    sum_abs_max: Mapping[Bits, Count] = {}
    """Largest sum of |code| over one output channel, by activation width."""
    only: WeightOnly | None = None
    """Quantized weights under float activations; absent: not offered."""

    def qtypes(self, bits: int) -> tuple[QType, ...]:
        """The types of one width, in order of preference; empty where the width has none."""
        parsed = (QType.parse(name) for name in self.types)
        return tuple(self._ranged(qtype) for qtype in parsed if qtype.bits == bits)

    def _ranged(self, qtype: QType) -> QType:
        narrow = self.qmin.get(qtype.bits, qtype.qmin) == qtype.qmin + 1
        return QType(qtype.bits, qtype.signed, narrow and qtype.signed and qtype.bits > 1)


class Bias(Section):
    """What is added to each output channel; its zero point is 0."""

    form: BiasForm
    """How the bias travels."""
    bits: Annotated[int, Field(ge=1, le=64)] = 32
    """Width of the codes of an integer bias. ONNX has no more than 32 bits of them: a file holds
    wider ones as 32 bits of s_x * s_w * 2**k, with the least k that holds the layer's largest."""
    signed_bits_max: Annotated[int, Field(ge=1, le=64)] | None = None
    """Documented width of the adder where it is wider than the accumulator or the file's codes."""
    scale_rule: BiasScaleRule = BiasScaleRule.ACT_TIMES_WEIGHT
    """What the scale of an integer bias has to be."""
    scale_rule_exp: int | None = None
    """Exponent in s_x * s_w * 2**scale_rule_exp."""
    scale_rtol: Annotated[float, Field(ge=0)] = 0.0
    """Relative distance from the rule's scale that the target still accepts; 0: bit-equal."""
    order: BiasOrder = BiasOrder.BEFORE_SCALE
    """Where the bias is added."""
    max_channels: Count | None = None
    """Most output channels of one layer that can have a bias."""
