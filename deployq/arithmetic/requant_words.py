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


class ZeroPointPlace(StrEnum):
    """Where the output's zero point is added."""

    AFTER_ROUNDING = "after_rounding"  # to the rounded integer
    BEFORE_ROUNDING = "before_rounding"  # to the real value: ties go to the even code
    ACCUMULATOR = "accumulator"  # as round_half_up(z_y / real multiplier), before it is scaled
    APART = "apart"  # z_y and z_x * s_x / s_y as one number, to the scaled sum of raw codes


class Addition(StrEnum):
    """How two operands of different scales become one sum."""

    RESCALED = "rescaled"  # each gains left_shift bits and is rescaled, then the sum (LiteRT)
    RESCALED_ONCE = "rescaled_once"  # so, operands by one rounding half up (LiteRT, optimised)
    WEIGHTED_SUM = "weighted_sum"  # mantissas of one common shift, one sum, one rounding (XNNPACK)


class Functions(StrEnum):
    """How the tables of Sigmoid and Tanh are computed."""

    EXACT = "exact"  # in float64, rounded to float32
    RATIONAL = "rational"  # quotients of polynomials in float32, as ONNX Runtime's kernels


class Softmax(StrEnum):
    """How Softmax over codes is computed."""

    REAL = "real"  # in float64, rounded to float32
    SCALED_TABLE = "scaled_table"  # float32 exponentials from a table, as QLinearSoftmax


class Averaging(StrEnum):
    """How the sum of a window becomes its mean."""

    SCALED_SUM = "scaled_sum"  # one multiplier for s_x / (n * s_y)
    DIVIDED_MANTISSA = "divided_mantissa"  # mantissa of s_x / s_y, cut off after division by n
    RAW_CODES = "raw_codes"  # raw codes, half away from zero; scale and zero point stay
