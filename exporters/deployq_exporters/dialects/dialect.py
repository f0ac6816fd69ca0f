"""The shape of a dialect."""

from __future__ import annotations

from dataclasses import dataclass

import onnx
import onnx_ir as ir

from deployq.errors import UnsupportedError
from deployq_exporters.rewrites import edge_containers
from deployq_exporters.rewrites.rule import Rewrite, apply
from deployq_exporters.rewrites.strip_trace import drop_unused_initializers


@dataclass(frozen=True)
class Dialect:
    """One runtime's way to hold the same integers.

    Args:
        name: of the runtime; the file is ``model.<name>.onnx``.
        contract: name of the builtin profile whose arithmetic the runtime computes.
        rewrites: applied to the canonical model, in order.
    """

    name: str
    contract: str
    rewrites: tuple[Rewrite, ...]

    @property
    def file_name(self) -> str:
        return f"model.{self.name}.onnx"


def translate(model: onnx.ModelProto, dialect: Dialect) -> onnx.ModelProto:
    """A copy of the canonical model in a dialect; the codes are the same.

    Raises:
        UnsupportedError: two tensors share a zero point, which no canonical model does; a rewrite
            that changes the type of the one would change the other.
    """
    copy = ir.from_proto(model)
    _check_own_parameters(copy)
    apply(copy, dialect.rewrites)
    drop_unused_initializers(copy.graph)
    return ir.to_proto(copy)


def feedable(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model, or a copy with a byte for each code at its edges, where those are narrower.

    ONNX Runtime's Python interface has no tensors of codes under 8 bits.
    """
    copy = ir.from_proto(model)
    changed = apply(copy, [edge_containers.NARROW])[edge_containers.NARROW.name]
    return ir.to_proto(copy) if changed else model


def _check_own_parameters(model: ir.Model) -> None:
    owners: dict[int, str] = {}
    for node in model.graph:
        if node.op_type != "QuantizeLinear" or len(node.inputs) < 3:
            continue
        zero_point, tensor = node.inputs[2], str(node.outputs[0].name)
        first = owners.setdefault(id(zero_point), tensor)
        if first != tensor:
            raise UnsupportedError(
                f"zero point {zero_point.name if zero_point else ''}",
                "each quantized tensor has parameters of its own",
                found=f"{first} and {tensor}",
                allowed="one tensor",
                next_step="translate a model that deployq lowered",
            )
