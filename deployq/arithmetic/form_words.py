"""Which words of a form the functions of each operator obey; every other one is refused by name.

A word that is read and then ignored would give codes of another chip.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from deployq.arithmetic.contract import Form, Kind
from deployq.arithmetic.form_names import KIND
from deployq.arithmetic.requant_words import (
    Addition,
    Averaging,
    Product,
    Rescaling,
    ScalePrecision,
    ZeroPointPlace,
)

Words = Mapping[str, tuple[object, ...]]
"""Field of a form to the values that are obeyed beside its default."""

_F64, _F32, _INVERSE = ScalePrecision.F64, ScalePrecision.F32, ScalePrecision.F32_INVERSE
_PRECISIONS = tuple(word for word in ScalePrecision if word is not _INVERSE)
_AFTER, _BEFORE = ZeroPointPlace.AFTER_ROUNDING, ZeroPointPlace.BEFORE_ROUNDING
_APART = ZeroPointPlace.APART
_SPLIT = tuple(range(1, 63))
_MEANS = tuple(Averaging)

_PRODUCT: Mapping[Kind, Words] = {
    Kind.FIXED: {
        "post_shift": _SPLIT,
        "sum_cut": _SPLIT,
        "scale_precision": _PRECISIONS,
        "zero_point": (_AFTER, ZeroPointPlace.ACCUMULATOR, ZeroPointPlace.ACCUMULATOR_APART),
    },
    Kind.FLOAT32: {"scale_precision": _PRECISIONS, "zero_point": (_AFTER,)},
}
_SUM: Mapping[Kind, Words] = {
    Kind.FIXED: {
        "scale_precision": (_F64, ScalePrecision.F32_RECIPROCAL),
        "zero_point": (_AFTER,),
        "addition": tuple(Addition),
    },
    Kind.FLOAT32: {"scale_precision": (_F32,), "zero_point": (_BEFORE,)},
}
_MUL: Mapping[Kind, Words] = {
    Kind.FIXED: {
        "scale_precision": _PRECISIONS,
        "zero_point": (_AFTER,),
        "product": tuple(Product),
    },
    Kind.FLOAT32: {"scale_precision": _PRECISIONS, "zero_point": (_AFTER, _BEFORE)},
}
_MEAN: Mapping[Kind, Words] = {
    Kind.FIXED: {
        "scale_precision": (_F64, _F32, ScalePrecision.F32_RECIPROCAL),
        "zero_point": (_AFTER, _APART),
        "averaging": _MEANS,
    },
    Kind.FLOAT32: {
        "scale_precision": (_F32, _F64, _INVERSE),
        "zero_point": (_AFTER, _BEFORE, _APART),
    },
}
_WINDOW: Mapping[Kind, Words] = {
    Kind.FIXED: _MEAN[Kind.FIXED],
    Kind.FLOAT32: {"scale_precision": (_F32,), "zero_point": (_BEFORE,)},
}
_RESCALE: Mapping[Kind, Words] = {
    Kind.FIXED: {
        "scale_precision": (_F64, _F32),
        "zero_point": (_AFTER,),
        "rescaling": tuple(Rescaling),
    },
    Kind.FLOAT32: {"scale_precision": (_F32,), "zero_point": (_AFTER,)},
}
_ROWS: Mapping[Kind, Words] = {
    Kind.FIXED: {"scale_precision": (_F64,), "zero_point": (_AFTER,)},
    Kind.SHIFT: {"zero_point": (_AFTER,)},
}
OBEYED: Mapping[str, Mapping[Kind, Words]] = MappingProxyType(
    {
        **dict.fromkeys(("Conv", "ConvTranspose", "Gemm", "MatMul", "requantize"), _PRODUCT),
        "Add": _SUM,
        "Mul": _MUL,
        "GlobalAveragePool": _MEAN,
        "AveragePool": _WINDOW,
        **dict.fromkeys(("Concat", "rescale"), _RESCALE),
        **dict.fromkeys(("Softmax", "LayerNormalization", "RMSNormalization"), _ROWS),
    }
)
"""Operator, or step that several share, to kind to words."""

_PLAIN = Form(Kind.EXACT)
_FIELDS = (
    "post_shift", "sum_cut", "scale_precision", "zero_point", "addition", "product", "rescaling",
    "averaging",
)  # fmt: skip
_OWNERS = {
    "sum_cut": ("Conv", "Gemm", "requantize"),
    "addition": ("Add",),
    "product": ("Mul",),
    "rescaling": ("Concat", "rescale"),
    "averaging": ("AveragePool", "GlobalAveragePool"),
}
"""Words that say nothing to other operators."""


def unobeyed(operator: str, form: Form) -> tuple[str, ...]:
    """The words of a form that an operator's functions would ignore, as ``key = value``.

    Args:
        operator: an ONNX type, a kind of one (see ``form_names``), or a step of ``OBEYED``.
    """
    operator = operator.partition(KIND)[0]
    words = OBEYED.get(operator, {}).get(form.kind, {})
    speaking = [name for name in _FIELDS if operator in _OWNERS.get(name, (operator,))]
    stated = {name: getattr(form, name) for name in speaking}
    if form.zero_point is not ZeroPointPlace.ACCUMULATOR:
        words = {**words, "sum_cut": ()}
    return tuple(
        f"{name} = {value}"
        for name, value in stated.items()
        if value != getattr(_PLAIN, name) and value not in words.get(name, ())
    )
