"""What ONNX's checker does not know: the ends and attributes of operators of com.microsoft."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import onnx
from onnx import AttributeProto

from deployq.errors import InputError

MICROSOFT = "com.microsoft"

Span: TypeAlias = tuple[int, int]

INPUTS: Mapping[str, Span] = {
    "QuantizeLinear": (2, 3),
    "DequantizeLinear": (2, 3),
    "QGemm": (6, 9),
    "QLinearAdd": (7, 8),
    "QLinearMul": (7, 8),
    "QLinearGlobalAveragePool": (5, 5),
    "QLinearAveragePool": (4, 5),
    "QLinearConcat": (5, 2**31 - 1),
    "QLinearSigmoid": (4, 5),
    "QLinearLeakyRelu": (4, 5),
}
"""Operator to the least and the greatest number of inputs; each has one output.

From ONNX Runtime: docs/ContribOperators.md.
"""

_POOL = {
    "kernel_shape": AttributeProto.INTS, "strides": AttributeProto.INTS,
    "pads": AttributeProto.INTS, "auto_pad": AttributeProto.STRING,
    "ceil_mode": AttributeProto.INT, "count_include_pad": AttributeProto.INT,
    "channels_last": AttributeProto.INT,
}  # fmt: skip
ATTRIBUTES: Mapping[str, Mapping[str, int]] = {
    "QuantizeLinear": {"axis": AttributeProto.INT},
    "DequantizeLinear": {"axis": AttributeProto.INT},
    "QGemm": {
        "alpha": AttributeProto.FLOAT, "transA": AttributeProto.INT, "transB": AttributeProto.INT
    },
    "QLinearGlobalAveragePool": {"channels_last": AttributeProto.INT},
    "QLinearAveragePool": _POOL,
    "QLinearConcat": {"axis": AttributeProto.INT},
    "QLinearLeakyRelu": {"alpha": AttributeProto.FLOAT},
}  # fmt: skip
"""Operator to its attributes and their types; the others have none."""

NEEDED = {"QLinearAveragePool": ("kernel_shape",), "QLinearConcat": ("axis",)}
"""Attributes that have no default."""

_MEND = "repair the node in the tool that wrote the file"


def check_signature(node: onnx.NodeProto) -> None:
    """Hold a node of an operator of :data:`INPUTS` against its signature.

    Raises:
        InputError: another number of inputs or outputs, an attribute that the operator has not or
            that has another type, or one that it needs and has not.
    """
    (least, most), inputs = INPUTS[node.op_type], len(node.input)
    torn = node.op_type == "QLinearConcat" and inputs % 3 != 2  # parts come with their parameters
    if not least <= inputs <= most or torn or len(node.output) != 1:
        raise InputError(
            "inputs",
            "an operator has its number of inputs and one output",
            found=f"{inputs} inputs, {len(node.output)} outputs",
            allowed=f"{least} to {most} inputs" + (", 2 and 3 for each part" if torn else ""),
            next_step=_MEND,
        )
    known, stated = ATTRIBUTES.get(node.op_type, {}), {a.name: a.type for a in node.attribute}
    wrong = [name for name, kind in stated.items() if known.get(name) != kind]
    missing = [name for name in NEEDED.get(node.op_type, ()) if name not in stated]
    if wrong or missing:
        raise InputError(
            "attributes",
            "an operator has attributes of its own, each of its type",
            found=", ".join([*wrong, *(f"no {name}" for name in missing)]),
            allowed=", ".join(known) or "none",
            next_step=_MEND,
        )
