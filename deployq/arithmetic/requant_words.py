"""Words that choose between the arithmetics of real kernels; a profile's [requant] states them."""

from __future__ import annotations

from enum import StrEnum


class ScalePrecision(StrEnum):
    """In what precision ``s_x * s_w / s_y`` is computed before it becomes a multiplier."""

    F64 = "f64"  # in float64, rounded once at the end
    F32 = "f32"  # product and quotient each rounded to float32
    F32_PRODUCT = "f32_product"  # s_x * s_w rounded to float32, the quotient in float64
    F32_PRODUCT_OF_ONE = "f32_product_of_one"  # so with one scale a weight, else float64 (LiteRT)
    F32_INVERSE = "f32_inverse"  # of means: s_x / s_y, 1 / n and their product, each in float32
    F32_RELATIVE = "f32_relative"  # f32 of the largest s_w, * s_w / largest (HTP's layers)
    F32_RELATIVE_RAISED = "f32_relative_raised"  # so, 7e-8 where it is below 2**-24 (HTP)
    F32_RECIPROCAL = "f32_reciprocal"  # the float32 1 / s_y multiplies, also in float32 (HTP's Add)
    F32_QUOTIENT = "f32_quotient"  # s_x / s_y, then * s_w, each rounded to float32 (HTP's Mul)


class ZeroPointPlace(StrEnum):
    """Where the output's zero point is added."""

    AFTER_ROUNDING = "after_rounding"  # to the rounded integer
    BEFORE_ROUNDING = "before_rounding"  # to the real value: ties go to the even code
    ACCUMULATOR = "accumulator"  # as z_y / real multiplier, rounded with the bias, to the sum (HTP)
    ACCUMULATOR_APART = "accumulator_apart"  # so, rounded alone (HTP, depthwise in steps of 2)
    APART = "apart"  # z_y and z_x * s_x / s_y as one number, to the scaled sum of raw codes


class Mantissa(StrEnum):
    """How a real number becomes a mantissa of few bits."""

    NEAREST = "nearest"  # the closest one
    REDUCED = "reduced"  # upper bits of the one of 31 bits, half up, at most all ones (LiteRT 16x8)


class BiasOrder(StrEnum):
    """Where the bias of a layer is added."""

    BEFORE_SCALE = "before_scale"  # to the accumulator, in steps of s_x * s_w
    AFTER_SCALE = "after_scale"  # to accumulator times mantissa, in steps of s_y * 2**-shift


class Addition(StrEnum):
    """How two operands of different scales become one sum."""

    RESCALED = "rescaled"  # each gains left_shift bits and is rescaled, then the sum (LiteRT)
    RESCALED_ONCE = "rescaled_once"  # so, operands by one rounding half up (LiteRT, optimised)
    WEIGHTED_SUM = "weighted_sum"  # mantissas of one common shift, one sum, one rounding (XNNPACK)
    CUT_SUM = "cut_sum"  # so, of raw codes; 8 bits of the sum go before the zero points come (HTP)


class Product(StrEnum):
    """How the product of two tensors is scaled."""

    WHOLE = "whole"  # one multiplication, one rounding
    CENTRED = "centred"  # moved to the middle of its range, to fit 16 bits; 15 bits go first (HTP)


class Gating(StrEnum):
    """How a tensor is multiplied by its own Sigmoid."""

    APART = "apart"  # a Sigmoid on a grid of its own, then Mul
    JOINED = "joined"  # one function of the tensor, rounded once, whatever that grid is (HTP)


class Rescaling(StrEnum):
    """How an operand of Concat comes to the output's scale."""

    ONCE = "once"  # one multiplication, one rounding
    TWICE = "twice"  # rounded to 6 bits after the point at most, then to codes
    BY_MAKERS = "by_makers"  # what makes it writes at that scale; else twice (HTP)


class Functions(StrEnum):
    """How functions of one value are computed; what a word does not speak of is exact."""

    EXACT = "exact"  # in float64, rounded to float32
    RATIONAL = "rational"  # Sigmoid, Tanh: quotients of polynomials in float32 (ONNX Runtime)
    INTEGER = "integer"  # LeakyRelu by two fixed multipliers, HardSwish in 16-bit steps (LiteRT)
    RECIPROCAL = "reciprocal"  # all but Relu, Clip, Mish: times 1 / s_y, then the zero point (HTP)
    FLOAT32 = "float32"  # Gelu in float32 steps, times 1 / s_y, half away, the zero point (LiteRT)


class Softmax(StrEnum):
    """How Softmax over codes is computed."""

    REAL = "real"  # in float64, rounded to float32
    SCALED_TABLE = "scaled_table"  # float32 exponentials from a table, as QLinearSoftmax
    INTEGER = "integer"  # 16-bit exponentials from a table, one integer division a row
    PAIRS = "pairs"  # rows of two: the second as a logistic function, the first what is left (HTP)
    FLOAT_TABLE = "float_table"  # float32 exponentials and division (LiteRT, optimised; XNNPACK)
    GEMMLOWP = "gemmlowp"  # 31-bit exponentials, a reciprocal by Newton (LiteRT's reference)


LITERT_SHARES = (Softmax.FLOAT_TABLE, Softmax.GEMMLOWP)
"""Of 8-bit codes, onto the one grid that LiteRT has for shares."""


class Normalization(StrEnum):
    """How LayerNormalization and RMSNormalization over codes are computed."""

    REAL = "real"  # outside the integer units: in float
    INTEGER = "integer"  # exact sums, an integer square root, one integer division a row


class Averaging(StrEnum):
    """How the sum of a window becomes its mean."""

    SCALED_SUM = "scaled_sum"  # one multiplier for s_x / (n * s_y)
    DIVIDED_MANTISSA = "divided_mantissa"  # mantissa of s_x / s_y, cut off after division by n
    KEPT_SUM = "kept_sum"  # so, where scale and zero point stay; other means are not known (HTP)
    RAW_CODES = "raw_codes"  # raw codes, half away from zero; scale and zero point stay
