"""The words in which a profile states its arithmetic; this package is their meaning.

Lingo: a *real multiplier* is ``s_x * s_w / s_y``; a *fixed multiplier* is an integer mantissa and
a right shift that stand for it; a *form* names one function of ``oracle/`` (NumPy, the truth) and
its equal in ``kernels/`` (torch, fast), with the function's parameters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType

from deployq.arithmetic.form_names import KIND, NARROW, WIDE
from deployq.arithmetic.requant_words import (
    Addition,
    Averaging,
    BiasOrder,
    Functions,
    Gating,
    Mantissa,
    Normalization,
    Product,
    Rescaling,
    ScalePrecision,
    Softmax,
    ZeroPointPlace,
)


class Rounding(StrEnum):
    """How a value between two integers becomes one; the example is 2.5 / -2.5."""

    HALF_EVEN = "half_even"  # 2 / -2   ONNX, ONNX Runtime, TensorRT
    HALF_UP = "half_up"  # 3 / -2   single rounding of TFLite and TOSA; Ethos "natural"
    HALF_AWAY = "half_away"  # 3 / -3   NVDLA, second step of gemmlowp
    HALF_DOWN = "half_down"  # 2 / -3   hls4ml RND_MIN_INF
    HALF_ZERO = "half_zero"  # 2 / -2   hls4ml RND_ZERO
    FLOOR = "floor"  # 2 / -3   VTA, NE16 without rounding, hls4ml TRN
    TRUNC = "trunc"  # 2 / -2   toward zero: Ethos TRUNCATE
    DOUBLE = "double"  # 3 / -3   gemmlowp: high multiply half up, then divide half away
    DOUBLE_HALF_UP = "double_half_up"  # 3 / -2   both steps half up: LiteRT's optimised kernels
    NATURAL_PLUS_ONE = "natural_plus_one"  # half up with the mantissa raised by one: Vela's pools


class Kind(StrEnum):
    """The family of a requantization."""

    EXACT = "exact"  # real arithmetic, one rounding: what the QDQ file itself says
    FLOAT32 = "float32"  # ONNX Runtime's kernels, step by step
    FIXED = "fixed"  # integer mantissa and shift
    SHIFT = "shift"  # a power of two
    THRESHOLDS = "thresholds"  # counted: as many codes above the lowest as the sum reaches
    VENDOR = "vendor"  # not public: cannot be simulated


class Overflow(StrEnum):
    """What an accumulator does with a sum beyond its width.

    The finished sum of Conv, Gemm and MatMul is looked at, with its bias; the partial sums on the
    way to it, whose order only the hardware knows, and the sums of pools are not.
    """

    WRAP = "wrap"
    SATURATE = "saturate"
    REJECT = "reject"


@dataclass(frozen=True)
class Form:
    """One arithmetic with its parameters.

    Args:
        kind: family.
        rounding: rounding of the last step (FLOAT32 and EXACT allow HALF_EVEN only).
        multiplier_bits: significant bits of a FIXED mantissa (31 for Q31).
        shift_min, shift_max: allowed right shifts of mantissa times accumulator, negative = left.
        shared_shift: one shift for all channels of a layer, the smallest that any channel needs.
        left_shift: bits that elementwise operands gain before their first rescale (TFLite: 20).
        s8_as_u8: int8 codes are computed as uint8 codes 128 higher. ONNX Runtime does so on x86
            (not with ``session.qdqisint8allowed``); it decides ties of FLOAT32 forms that round
            after the zero point.
        code_bits: widest codes that the form is known for; None: any.
        post_shift: bits of the right shift that follow the multiplication, the rest precedes it,
            rounded down; None: all follow.
        mantissa: how a real multiplier becomes a mantissa, FIXED only.
        scale_precision: of the real multiplier; None: as the kind has it.
        sum_cut: lowest bits of the sum of raw codes that are dropped before bias and zero points
            join it, each without these bits too; of a zero point in the accumulator.
        zero_point: where the output's zero point is added; None: as the kind has it.
        addition: how Add joins two scales, FIXED only.
        product: how Mul scales the product of two tensors, FIXED only.
        gating: how Mul takes a tensor and its own Sigmoid.
        rescaling: how Concat brings its operands to one scale, FIXED only.
        averaging: how average pools divide, FIXED only.
        functions: how tables of functions of one value are computed.
        softmax: how Softmax over codes is computed.
        normalization: how LayerNormalization and RMSNormalization over codes are computed.
    """

    kind: Kind
    rounding: Rounding = Rounding.HALF_EVEN
    multiplier_bits: int = 31
    shift_min: int = -31
    shift_max: int = 62
    shared_shift: bool = False
    left_shift: int = 20
    s8_as_u8: bool = False
    code_bits: int | None = None
    post_shift: int | None = None
    sum_cut: int = 0
    mantissa: Mantissa = Mantissa.NEAREST
    scale_precision: ScalePrecision | None = None
    zero_point: ZeroPointPlace | None = None
    addition: Addition = Addition.RESCALED
    product: Product = Product.WHOLE
    gating: Gating = Gating.APART
    rescaling: Rescaling = Rescaling.ONCE
    averaging: Averaging = Averaging.SCALED_SUM
    functions: Functions = Functions.EXACT
    softmax: Softmax = Softmax.REAL
    normalization: Normalization = Normalization.REAL

    @property
    def precision(self) -> ScalePrecision:
        """The precision of real multipliers, stated or the kind's own."""
        own = ScalePrecision.F32 if self.kind is Kind.FLOAT32 else ScalePrecision.F64
        return self.scale_precision or own

    @property
    def folds_zero(self) -> bool:
        """The output's zero point is added before the scale, in whole steps of the sum."""
        return self.zero_point in (ZeroPointPlace.ACCUMULATOR, ZeroPointPlace.ACCUMULATOR_APART)


@dataclass(frozen=True)
class Accumulator:
    """Width and overflow of the finished sum of Conv, Gemm and MatMul (see :class:`Overflow`)."""

    bits: int = 32
    overflow: Overflow = Overflow.REJECT

    @property
    def low(self) -> int:
        return -(1 << (self.bits - 1))

    @property
    def high(self) -> int:
        return (1 << (self.bits - 1)) - 1


@dataclass(frozen=True)
class Contract:
    """The whole arithmetic of one target.

    Args:
        name: where it comes from, for reports.
        default: form of Conv, Gemm, MatMul and every operator not in ``by_op``.
        by_op: ONNX operator type, or a kind of it, to form.
        accumulator: width and overflow of the finished sum of Conv, Gemm and MatMul.
        bias_order: where the bias of a layer is added.
    """

    name: str
    default: Form
    by_op: Mapping[str, Form] = field(default_factory=lambda: MappingProxyType({}))
    accumulator: Accumulator = field(default_factory=Accumulator)
    bias_order: BiasOrder = BiasOrder.BEFORE_SCALE

    def form(self, name: str) -> Form:
        """The form of one ONNX operator type, or of a kind of it (see ``form_names``)."""
        return self.by_op.get(name) or self.by_op.get(name.partition(KIND)[0], self.default)

    def for_codes(self, *widths: int) -> Contract:
        """The contract of an operator that reads codes of so many bits: where any has more than 8,
        what it states for wide ones (see ``form_names.WIDE``) takes the place of the rest.
        """
        wide = {name: form for name, form in self.by_op.items() if name.endswith(WIDE)}
        if not wide or all(bits <= NARROW for bits in widths):
            return self
        others = {name: form for name, form in self.by_op.items() if name not in wide}
        by_op = {**others, **{name.removesuffix(WIDE): form for name, form in wide.items()}}
        return replace(self, by_op=MappingProxyType(by_op))


QDQ = Contract("onnx-qdq", Form(Kind.EXACT), accumulator=Accumulator(64, Overflow.REJECT))
"""What a QDQ file says, in real arithmetic: the reference for runs in float (law 12 b)."""
