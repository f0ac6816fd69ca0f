"""The sections that describe integer arithmetic: [accumulator] and [requant]."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field

from deployq.arithmetic import contract
from deployq.arithmetic.contract import Form, Kind, Overflow, Rounding
from deployq.arithmetic.form_names import KIND
from deployq.arithmetic.requant_words import (
    Addition,
    Averaging,
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
from deployq_targets.section import FormName, Section
from deployq_targets.words import Bound, Scope

RoundingWord: TypeAlias = Rounding | Literal["vendor"]
Shift: TypeAlias = Annotated[int, Field(ge=-64, le=64)]


class Accumulator(Section):
    """The register that integer products are summed in."""

    bits: Annotated[int, Field(ge=8, le=64)]
    """Width, two's complement."""
    overflow: Overflow
    """What becomes of a sum beyond the width; reject: such a model is refused."""
    bound: Bound = Bound.WEIGHTS
    """From what the largest possible sum is derived."""

    def contract(self) -> contract.Accumulator:
        """The same in the words of the simulator."""
        return contract.Accumulator(self.bits, self.overflow)


class RequantChange(Section):
    """What one operator does differently; an absent key is as in [requant]."""

    kind: Kind | None = None
    """Family of the requantization; vendor: not public, cannot be simulated."""
    rounding: RoundingWord | None = None
    """Rounding of the last step; "vendor" only with kind "vendor"."""
    multiplier_bits: Annotated[int, Field(ge=1, le=32)] | None = None
    """Significant bits of the fixed multiplier's mantissa, without sign: 31 for Q31."""
    mantissa: Mantissa | None = None
    """How a real number becomes a mantissa of multiplier_bits; absent: nearest."""
    multiplier_scope: Scope | None = None
    """Each channel its own multiplier, or one for the layer."""
    shift_min: Shift | None = None
    """Least right shift of accumulator times mantissa, in bits; negative: to the left."""
    shift_max: Shift | None = None
    """Greatest right shift of accumulator times mantissa, in bits."""
    shift_scope: Scope | None = None
    """Each channel its own shift, or one for the layer: the smallest that any channel needs."""
    left_shift: Annotated[int, Field(ge=0, le=31)] | None = None
    """Bits that elementwise operands gain before their first rescale (LiteRT: 20)."""
    s8_as_u8: bool | None = None
    """Signed 8-bit codes are computed as unsigned ones, 128 higher (ONNX Runtime on x86)."""
    code_bits: Annotated[int, Field(ge=1, le=32)] | None = None
    """Widest codes that the form is known for; absent: any."""
    post_shift: Annotated[int, Field(ge=1, le=62)] | None = None
    """Bits of the right shift that follow the multiplication; the rest precedes it, rounded down.

    Absent: the whole shift follows.
    """
    sum_cut: Annotated[int, Field(ge=1, le=31)] | None = None
    """Lowest bits of the raw sum that are dropped before bias and zero points join it."""
    scale_precision: ScalePrecision | None = None
    """Precision of s_x * s_w / s_y; absent: f32 with kind float32, f64 with any other."""
    zero_point: ZeroPointPlace | None = None
    """Where the output's zero point is added; absent: as the functions of the kind do."""
    addition: Addition | None = None
    """How Add joins two scales; absent: rescaled with kind fixed."""
    product: Product | None = None
    """How Mul scales the product of two tensors; absent: whole."""
    gating: Gating | None = None
    """How Mul takes a tensor and its own Sigmoid; absent: apart."""
    rescaling: Rescaling | None = None
    """How Concat brings its operands to one scale; absent: once."""
    averaging: Averaging | None = None
    """How average pools divide; absent: scaled_sum."""
    functions: Functions | None = None
    """How tables of functions of one value are computed; absent: exact."""
    softmax: Softmax | None = None
    """How Softmax over codes is computed; absent: real."""
    normalization: Normalization | None = None
    """How LayerNormalization and RMSNormalization over codes are computed; absent: real."""


class Requant(RequantChange):
    """From the accumulator to the output's codes: the form of every operator."""

    kind: Kind
    """Family of the requantization; vendor: not public, cannot be simulated."""
    rounding: RoundingWord
    """Rounding of the last step; "vendor" only with kind "vendor"."""
    multiplier_scope: Scope = Scope.CHANNEL
    """Each channel its own multiplier, or one for the layer."""
    shift_scope: Scope = Scope.CHANNEL
    """Each channel its own shift, or one for the layer: the smallest that any channel needs."""
    by_op: Mapping[FormName, RequantChange] = {}
    """What single operators do differently, or a kind of one (see docs/targets.md)."""

    def for_op(self, name: str) -> Requant:
        """The requantization of one operator, or a kind of it: its own keys, else [requant]'s."""
        change = self.by_op.get(name) or self.by_op.get(name.partition(KIND)[0])
        return self.model_copy(update=change.model_dump(exclude_none=True)) if change else self

    def each(self) -> Iterator[tuple[str, Requant]]:
        """Every requantization with its dotted key: the default, then the operators' own."""
        yield "requant", self
        for op_type in self.by_op:
            yield f"requant.by_op.{op_type}", self.for_op(op_type)

    def form(self) -> Form:
        """The same in the words of the simulator; absent keys get its defaults."""
        stated: dict[str, Any] = {  # pydantic has checked the types of these
            key: value for key in _OF_FORM if (value := getattr(self, key)) is not None
        }
        rounding = self.rounding if isinstance(self.rounding, Rounding) else Rounding.HALF_EVEN
        shared = self.shift_scope is Scope.LAYER
        return Form(self.kind, rounding, shared_shift=shared, **stated)


_OF_FORM = (
    "multiplier_bits", "mantissa", "shift_min", "shift_max", "left_shift", "s8_as_u8", "code_bits",
    "post_shift", "sum_cut", "scale_precision", "zero_point", "addition", "product", "gating",
    "rescaling", "averaging", "functions", "softmax", "normalization",
)  # fmt: skip
"""Keys that have the same name and meaning in :class:`Form`."""
