"""A grid, a linear layer and a name as one torch operator each, for the trace that becomes ONNX.

They come out as nodes of the domain ``deployq`` that carry the tensor's name; the rewrites
``typed_grids`` and ``typed_layers`` turn them into standard operators with typed codes,
``named_reals`` gives the name away.

The trace's time grows with its nodes, so a grid is one call with plain numbers, a layer one call
with its reals, and neither has the autograd layer of ``torch.library.custom_op``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import onnx
import torch
from onnxscript.values import Op, Opset
from torch import Tensor

from deployq.arithmetic.geometry import ConvGeometry, ConvTransposeGeometry
from deployq.graph.fake_quantize import fake_quantize
from deployq.graph.units import product

DOMAIN = "deployq"

torch.library.define(
    "deployq::grid",
    "(Tensor x, float scale, int zero_point, int qmin, int qmax, str tensor, str qtype) -> Tensor",
)
torch.library.define(
    "deployq::layer",
    "(Tensor x, Tensor weight, Tensor bias, str op_type, int[] geometry, str tensor) -> Tensor",
)
torch.library.define("deployq::named", "(Tensor x, str tensor) -> Tensor")


def grid(
    x: Tensor, scale: float, zero_point: int, qmin: int, qmax: int, tensor: str, qtype: str
) -> Tensor:
    """``x`` on a per-tensor grid; law 1. ``scale`` is a float32 number."""
    numbers = torch.tensor(scale, dtype=torch.float32), torch.tensor(zero_point)
    reals: Tensor = fake_quantize(x, *numbers, qmin, qmax)
    return reals


def _like(x: Tensor, *grid: object) -> Tensor:
    return torch.empty_like(x)


def layer(
    x: Tensor, weight: Tensor, bias: Tensor, op_type: str, geometry: Sequence[int], tensor: str
) -> Tensor:
    """``Conv``, ``ConvTranspose`` or ``Gemm`` of the reals that the codes stand for.

    Args:
        geometry: :func:`geometry_numbers`.
    """
    return product(op_type, _geometry(op_type, geometry), x, weight, bias)


def named(x: Tensor, tensor: str) -> Tensor:
    """``x``."""
    return x.clone()  # an operator may not return its operand


for _name, _compute, _shape in (
    ("grid", grid, _like), ("layer", layer, layer), ("named", named, named),
):  # fmt: skip
    torch.library.impl(f"deployq::{_name}", "CompositeExplicitAutograd")(_compute)
    torch.library.register_fake(f"deployq::{_name}", _shape)


def geometry_numbers(geometry: ConvGeometry) -> list[int]:
    """Strides, pads, dilations, groups and, of a transposed convolution, the output padding."""
    extra = geometry.output_padding if isinstance(geometry, ConvTransposeGeometry) else ()
    return [*geometry.strides, *geometry.pads, *geometry.dilations, geometry.groups, *extra]


def _geometry(op_type: str, numbers: Sequence[int]) -> ConvGeometry:
    sh, sw, top, left, bottom, right, dh, dw, groups, *extra = numbers
    facts = ((sh, sw), (top, left, bottom, right), (dh, dw), groups)
    if op_type == "ConvTranspose":
        return ConvTransposeGeometry(*facts, output_padding=(extra[0], extra[1]))
    return ConvGeometry(*facts)


def _operator(name: str, attributes: dict[str, str]) -> Op:
    """An operator x -> y of our own domain, for the time of the trace."""
    parameter, kinds = onnx.defs.OpSchema.FormalParameter, onnx.defs.OpSchema.AttrType
    schema = onnx.defs.OpSchema(
        name, DOMAIN, 1,
        inputs=[parameter("x", "T")],
        outputs=[parameter("y", "T")],
        type_constraints=[("T", ["tensor(float)"], "reals")],
        attributes=[
            onnx.defs.OpSchema.Attribute(n, getattr(kinds, kind), n)
            for n, kind in attributes.items()
        ],
    )  # fmt: skip
    return Op(Opset(DOMAIN, 1), name, schema)


_GRID = _operator(
    "Grid",
    {
        "scale": "FLOAT", "zero_point": "INT", "qmin": "INT", "qmax": "INT",
        "tensor": "STRING", "qtype": "STRING",
    },
)  # fmt: skip
_LAYER = _operator("Layer", {"tensor": "STRING"})
_NAMED = _operator("Named", {"tensor": "STRING"})


def _to_onnx_grid(
    x: Any, scale: float, zero_point: int, qmin: int, qmax: int, tensor: str, qtype: str
) -> Any:
    return _GRID(
        x, scale=scale, zero_point=zero_point, qmin=qmin, qmax=qmax, tensor=tensor, qtype=qtype
    )


def _to_onnx_layer(
    x: Any, weight: Any, bias: Any, op_type: str, geometry: Sequence[int], tensor: str
) -> Any:
    return _LAYER(x, tensor=tensor)


def _to_onnx_named(x: Any, tensor: str) -> Any:
    return _NAMED(x, tensor=tensor)


TRANSLATIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    torch.ops.deployq.grid.default: _to_onnx_grid,
    torch.ops.deployq.layer.default: _to_onnx_layer,
    torch.ops.deployq.named.default: _to_onnx_named,
}
"""For ``torch.onnx.export(custom_translation_table=...)``."""
