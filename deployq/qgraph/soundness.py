"""What a file must be before it is read, so that each reader may take it at its word.

A model in memory was never held against ONNX's own rules, and these know no com.microsoft.
"""

from __future__ import annotations

import onnx
from onnx import AttributeProto, TensorProto, checker

from deployq.errors import InputError
from deployq.qgraph.opsets import DEFAULT_DOMAIN, check_opset
from deployq.qgraph.order import check_order
from deployq.qgraph.signatures import INPUTS, MICROSOFT, check_signature
from deployq.qgraph.stored import check_in_memory
from deployq.qgraph.values import located, refuse, where

_MEND = "repair the node in the tool that wrote the file"


def check_sound(model: onnx.ModelProto) -> None:
    """Refuse what contradicts ONNX's rules on opsets, names, nodes and inputs.

    Args:
        model: with its external data in memory.

    Raises:
        UnsupportedError: an opset or an operator that is not known, or one with a subgraph.
        InputError: everything else.
    """
    opset = check_opset("the model", model)
    check_order(model.graph)
    context = checker.C.CheckerContext()
    context.ir_version = onnx.IR_VERSION
    context.opset_imports = {"": opset}
    for node in model.graph.node:
        _check_node(node, opset, context)
    for value in model.graph.input:
        _check_input(value)
    for tensor in model.graph.initializer:
        check_in_memory(tensor, tensor.name)


def _check_node(node: onnx.NodeProto, opset: int, context: checker.C.CheckerContext) -> None:
    standard = node.domain in DEFAULT_DOMAIN and onnx.defs.has(node.op_type, opset)
    if not standard and not (node.domain == MICROSOFT and node.op_type in INPUTS):
        raise refuse(
            node,
            "an operator has an integer form, or is one of ONNX's own and runs in float",
            f"{node.domain or 'ai.onnx'}::{node.op_type}, ai.onnx in opset {opset}",
        )
    try:
        _check_output(node)
        _check_attributes(node)
        if standard:
            _check_schema(node, context)
        else:
            check_signature(node)
    except InputError as error:
        raise located(error, where(node)) from error


def _check_output(node: onnx.NodeProto) -> None:
    if not node.output or not node.output[0]:
        raise InputError(
            "output 0",
            "an operator names what it makes",
            found=f"{len(node.output)} outputs, the first without a name",
            next_step=_MEND,
        )


def _check_attributes(node: onnx.NodeProto) -> None:
    """Numbers, texts and tensors; each attribute once."""
    names = [attribute.name for attribute in node.attribute]
    for attribute in node.attribute:
        found = ""
        if names.count(attribute.name) > 1:
            found = "stated twice"
        elif attribute.type in (AttributeProto.GRAPH, AttributeProto.GRAPHS):
            raise refuse(node, "an operator has no graph of its own", attribute.name)
        elif attribute.ref_attr_name:
            found = f"a reference to {attribute.ref_attr_name!r}"
        elif not _is_text(attribute):
            found = "a text that is not UTF-8"
        if found:
            raise InputError(
                f"attribute {attribute.name!r}",
                "an attribute is a number, a text, a tensor or a list of them",
                found=found,
                next_step=_MEND,
            )
        for tensor in (attribute.t, *attribute.tensors):
            check_in_memory(tensor, f"of attribute {attribute.name}")


def _is_text(attribute: AttributeProto) -> bool:
    try:
        [text.decode() for text in (attribute.s, *attribute.strings)]
    except UnicodeDecodeError:
        return False
    return True


def _check_schema(node: onnx.NodeProto, context: checker.C.CheckerContext) -> None:
    plain = onnx.NodeProto()
    plain.CopyFrom(node)
    plain.domain = ""
    try:
        checker.check_node(plain, context)
    except (checker.ValidationError, RuntimeError, ValueError) as error:
        raise InputError(
            "ONNX's checker",
            "a node obeys the schema of its operator",
            found=str(error).strip().partition("\n")[0],
            next_step=_MEND,
        ) from error


def _check_input(value: onnx.ValueInfoProto) -> None:
    """A tensor of one of ONNX's types; no size is negative."""
    tensor = value.type.tensor_type
    sizes = [dimension.dim_value for dimension in tensor.shape.dim]
    known = tensor.elem_type in TensorProto.DataType.values() and tensor.elem_type
    if not known or min(sizes, default=0) < 0:
        raise InputError(
            f"graph input {value.name!r}",
            "an input is a tensor of a type of ONNX, without negative sizes",
            found=f"type {tensor.elem_type}, sizes {sizes}",
            next_step="repair the input in the tool that wrote the file",
        )
