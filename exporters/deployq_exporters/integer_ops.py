"""QuantizeLinear and DequantizeLinear as torch operators, for the trace that becomes ONNX.

Both carry the tensor's name and type into the file as nodes of the domain ``deployq``; the rewrite
``typed_integers`` turns them into the standard operators. Codes are int32 in torch: containers are
a matter of the file.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnx
import torch
from onnxscript.values import Op, Opset
from torch import Tensor

DOMAIN = "deployq"


def _schema(name: str, attributes: dict[str, str]) -> onnx.defs.OpSchema:
    """An operator (x, scale, zero_point) -> y of our own domain, for the time of the trace."""
    parameter = onnx.defs.OpSchema.FormalParameter
    any_type = ("T", ["tensor(float)", "tensor(int32)"], "codes or reals")
    return onnx.defs.OpSchema(
        name, DOMAIN, 1,
        inputs=[parameter(n, "T") for n in ("x", "scale", "zero_point")],
        outputs=[parameter("y", "T")],
        type_constraints=[any_type],
        attributes=[
            onnx.defs.OpSchema.Attribute(n, getattr(onnx.defs.OpSchema.AttrType, kind), n)
            for n, kind in attributes.items()
        ],
    )  # fmt: skip


def _operator(name: str, attributes: dict[str, str]) -> Op:
    schema = _schema(name, attributes)
    return Op(Opset(DOMAIN, 1), name, schema)


_QUANTIZE = _operator(
    "Quantize", {"tensor": "STRING", "qtype": "STRING", "qmin": "INT", "qmax": "INT"}
)
_DEQUANTIZE = _operator("Dequantize", {"tensor": "STRING", "qtype": "STRING", "axis": "INT"})


@torch.library.custom_op("deployq::quantize_linear", mutates_args=())
def quantize_linear(
    x: Tensor, scale: Tensor, zero_point: Tensor, tensor: str, qtype: str, qmin: int, qmax: int
) -> Tensor:
    """Codes (int32) of ``x`` on a per-tensor grid; law 1."""
    codes = torch.round(x / scale) + zero_point
    return codes.clamp(qmin, qmax).to(torch.int32)


@quantize_linear.register_fake
def _(
    x: Tensor, scale: Tensor, zero_point: Tensor, tensor: str, qtype: str, qmin: int, qmax: int
) -> Tensor:
    return torch.empty_like(x, dtype=torch.int32)


@torch.library.custom_op("deployq::dequantize_linear", mutates_args=())
def dequantize_linear(
    codes: Tensor, scale: Tensor, zero_point: Tensor, tensor: str, qtype: str, axis: int
) -> Tensor:
    """Reals of ``codes``; scale and zero point have rank 0, or one entry for each of ``axis``."""
    if scale.ndim:
        shape = [1] * codes.ndim
        shape[axis] = -1
        scale, zero_point = scale.reshape(shape), zero_point.reshape(shape)
    return (codes - zero_point).to(torch.float32) * scale


@dequantize_linear.register_fake
def _(
    codes: Tensor, scale: Tensor, zero_point: Tensor, tensor: str, qtype: str, axis: int
) -> Tensor:
    return torch.empty_like(codes, dtype=torch.float32)


def _to_onnx_quantize(
    x: Any, scale: Any, zero_point: Any, tensor: str, qtype: str, qmin: int, qmax: int
) -> Any:
    return _QUANTIZE(x, scale, zero_point, tensor=tensor, qtype=qtype, qmin=qmin, qmax=qmax)


def _to_onnx_dequantize(
    codes: Any, scale: Any, zero_point: Any, tensor: str, qtype: str, axis: int
) -> Any:
    return _DEQUANTIZE(codes, scale, zero_point, tensor=tensor, qtype=qtype, axis=axis)


TRANSLATIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    torch.ops.deployq.quantize_linear.default: _to_onnx_quantize,
    torch.ops.deployq.dequantize_linear.default: _to_onnx_dequantize,
}
"""For ``torch.onnx.export(custom_translation_table=...)``."""
