"""Functions of one variable as tables over the codes of their input."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from deployq.affine import dequantize, quantize
from deployq.arithmetic import rational
from deployq.arithmetic.codes import scale_and_zero
from deployq.arithmetic.contract import QDQ, Form
from deployq.arithmetic.float32 import Float32Array
from deployq.arithmetic.oracle import float32_functions
from deployq.arithmetic.oracle.codes import centred, to_codes
from deployq.arithmetic.oracle.integer_functions import INTEGER_FUNCTIONS
from deployq.arithmetic.requant_words import Functions
from deployq.arithmetic.rounding import Float64Array, Int64Array
from deployq.errors import QuantizationError, UnsupportedError
from deployq.qparams import IntArray, QParams
from deployq.qtypes import QType

MAX_TABLE_BITS = 16
LEAKY_ALPHA = 0.01
"""Slope of a LeakyRelu that states none (ONNX)."""


@dataclass(frozen=True)
class UnaryParams:
    """Attributes of the functions, with ONNX's names and meaning.

    Args:
        alpha: slope of LeakyRelu (none: ONNX's 0.01) or HardSigmoid (none: ONNX's 0.2), limit of
            Elu (none: ONNX's 1), factor inside the Sigmoid of Swish (none: ONNX's 1).
        beta: offset of HardSigmoid (none: ONNX's 0.5).
        low, high: bounds of Clip, in reals.
        approximate: ``none`` or ``tanh``, of Gelu.
    """

    alpha: float | None = None
    beta: float | None = None
    low: float = -np.inf
    high: float = np.inf
    approximate: str = "none"


DEFAULT_PARAMS = UnaryParams()


def lookup_table(
    function: str,
    qx: QParams,
    out: QParams,
    *,
    params: UnaryParams = DEFAULT_PARAMS,
    form: Form = QDQ.default,
) -> Int64Array:
    """Output codes for the input codes qmin..qmax.

    The input reals are float32 (law 1), the function is evaluated in float64 and rounded to
    float32, or as ``form.functions`` says, and the result is quantized by law 1.

    Args:
        function: ONNX operator type: Relu, Clip, LeakyRelu, Sigmoid, Tanh, HardSigmoid, HardSwish,
            Elu, Gelu, Mish, Swish.
        qx, out: parameters, per tensor; the input has at most 16 bits.
        form: how some functions are computed.

    Returns:
        (2**bits,) int64 (one less for a narrow range); entry 0 belongs to ``qx.qtype.qmin``.

    Raises:
        UnsupportedError: an unknown function, an input of more than 16 bits, or one that the form's
            arithmetic does not take.
        QuantizationError: parameters that are not per tensor, or multipliers beyond the form's.
    """
    if function not in _FUNCTIONS:
        raise UnsupportedError(
            function,
            "a table exists for known functions of one variable",
            found=function,
            allowed=", ".join(_FUNCTIONS),
            next_step="keep this operator in float",
        )
    if qx.qtype.bits > MAX_TABLE_BITS:
        raise UnsupportedError(
            function,
            "a table has at most 2**16 entries",
            found=str(qx.qtype),
            allowed="u16, s16",
            next_step="quantize the input of this operator to 16 bits or fewer",
        )
    scale_and_zero(qx, function), scale_and_zero(out, function)
    codes = np.arange(qx.qtype.qmin, qx.qtype.qmax + 1)
    if form.functions is Functions.INTEGER and function in INTEGER_FUNCTIONS:
        alpha = _attribute(params.alpha, LEAKY_ALPHA)
        steps = INTEGER_FUNCTIONS[function](centred(codes, qx), qx, out, form, alpha)
        return to_codes(steps, out, None).astype(np.int64)
    if form.functions is Functions.FLOAT32 and function == "Gelu":
        reals = float32_functions.gelu(dequantize(codes, qx), params.approximate)
        return float32_functions.rounded_away(reals, out)
    values = _values(function, dequantize(codes, qx), params, form.functions)
    if form.functions is Functions.RECIPROCAL and function in RECIPROCAL:
        return _by_reciprocal(values, out)
    return quantize(values, out).astype(np.int64)


def _values(
    function: str, x: Float32Array, params: UnaryParams, functions: Functions
) -> Float32Array:
    """The function in reals, float32."""
    if functions is Functions.RATIONAL and function in _RATIONAL:
        return _RATIONAL[function](x)
    if functions is Functions.RECIPROCAL and function == "HardSigmoid":
        alpha, beta = (np.float32(a) for a in _hard_sigmoid_line(params))
        line: Float32Array = np.clip(x * alpha + beta, np.float32(0.0), np.float32(1.0))
        return line
    return _FUNCTIONS[function](x.astype(np.float64), params).astype(np.float32)


def _by_reciprocal(values: Float32Array, out: QParams) -> Int64Array:
    """``clip(round_half_even(values * (1 / s_y) + z_y))``, each step in float32. HardSigmoid's
    line is in float32 as well.

    Source: trials on Qualcomm's x86 emulator (onnxruntime-qnn 2.7.0).
    """
    scale, zero = scale_and_zero(out, "output")
    steps = np.rint(values * (np.float32(1.0) / scale) + np.float32(zero))
    codes: Float64Array = np.clip(steps.astype(np.float64), out.qtype.qmin, out.qtype.qmax)
    return codes.astype(np.int64)


def apply_table(x: IntArray, qtype: QType, table: IntArray) -> IntArray:
    """``table[x - qmin]``: codes of the type of ``table``, shape of ``x``.

    Raises:
        QuantizationError: the table does not have one entry for each code of ``qtype``.
    """
    check_table(len(table), qtype)
    return np.asarray(table[x.astype(np.int64) - qtype.qmin])


def check_table(length: int, qtype: QType) -> None:
    """Raises QuantizationError unless a table of ``length`` covers ``qtype``."""
    if length != qtype.qmax - qtype.qmin + 1:
        raise QuantizationError(
            "table",
            "a table has one entry for each code of its input",
            found=f"{length} entries",
            allowed=f"{qtype.qmax - qtype.qmin + 1} for {qtype}",
        )


def _sigmoid(x: Float64Array, params: UnaryParams) -> Float64Array:
    tail = np.exp(-np.abs(x))  # never overflows
    return np.where(x >= 0, 1.0, tail) / (1.0 + tail)


def _swish(x: Float64Array, params: UnaryParams) -> Float64Array:
    return x * _sigmoid(x * _attribute(params.alpha, 1.0), params)


def _leaky_relu(x: Float64Array, params: UnaryParams) -> Float64Array:
    return np.where(x < 0, x * _attribute(params.alpha, LEAKY_ALPHA), x)


def _hard_sigmoid(x: Float64Array, params: UnaryParams) -> Float64Array:
    alpha, beta = _hard_sigmoid_line(params)
    return np.clip(x * alpha + beta, 0.0, 1.0)


def _hard_sigmoid_line(params: UnaryParams) -> tuple[float, float]:
    """Slope and offset."""
    return _attribute(params.alpha, 0.2), _attribute(params.beta, 0.5)


def _elu(x: Float64Array, params: UnaryParams) -> Float64Array:
    below: Float64Array = _attribute(params.alpha, 1.0) * np.expm1(np.minimum(x, 0.0))
    return np.where(x < 0, below, x)


def _gelu(x: Float64Array, params: UnaryParams) -> Float64Array:
    """``x Phi(x)``, or the approximation of Hendrycks and Gimpel, arXiv 1606.08415."""
    if params.approximate == "tanh":
        inner: Float64Array = np.sqrt(2.0 / np.pi) * (x + 0.044715 * x**3)
        return 0.5 * x * (1.0 + np.tanh(inner))
    erf = np.array([math.erf(value) for value in (x / np.sqrt(2.0)).ravel()])
    exact: Float64Array = 0.5 * x * (1.0 + erf.reshape(x.shape))
    return exact


def _attribute(value: float | None, default: float) -> float:
    return float(np.float32(default if value is None else value))  # ONNX attributes are float32


_RATIONAL: dict[str, Callable[[Float32Array], Float32Array]] = {
    "Sigmoid": rational.logistic,
    "Tanh": rational.tanh,
}
RECIPROCAL = ("Sigmoid", "Tanh", "Swish", "HardSigmoid", "HardSwish", "Elu", "LeakyRelu", "Gelu")
"""Functions that are looked at under ``Functions.RECIPROCAL``."""
BY_CONTRACT = frozenset([*_RATIONAL, *INTEGER_FUNCTIONS, "Swish"])
"""Functions whose values depend on the contract, not their rounding alone."""

_FUNCTIONS: dict[str, Callable[[Float64Array, UnaryParams], Float64Array]] = {
    "Relu": lambda x, params: np.maximum(x, 0.0),
    "Clip": lambda x, params: np.clip(x, params.low, params.high),
    "LeakyRelu": _leaky_relu,
    "Sigmoid": _sigmoid,
    "Tanh": lambda x, params: np.tanh(x),
    "HardSigmoid": _hard_sigmoid,
    "Elu": _elu,
    "Gelu": _gelu,
    "Mish": lambda x, params: x * np.tanh(np.logaddexp(0.0, x)),
    "HardSwish": lambda x, params: x * np.clip(x / 6.0 + 0.5, 0.0, 1.0),
    "Swish": _swish,
}
