"""Each computing node takes the name of the tensor whose codes it makes.

    node_conv2d -> QuantizeLinear "layer1.conv1.quantize"    becomes    layer1.conv1 -> ...

Names then lead back to the user's modules; a fused clamp is ``<tensor>.clamp``.
"""

from __future__ import annotations

import onnx_ir as ir

from deployq_exporters.rewrites.rule import Rewrite

SUFFIX = ".quantize"


def match(node: ir.Node) -> bool:
    return node.op_type == "QuantizeLinear" and str(node.name).endswith(SUFFIX)


def rewrite(graph: ir.Graph, node: ir.Node) -> None:
    tensor = str(node.name).removesuffix(SUFFIX)
    value = node.inputs[0]
    for part in ("range", "clamp", ""):
        producer = None if value is None else value.producer()
        if producer is None:
            return
        clips = producer.op_type in ("Clip", "Relu")
        if part and not (clips and (part == "clamp" or producer.name == f"{tensor}.range")):
            continue
        producer.name = f"{tensor}.{part}" if part else tensor
        producer.outputs[0].name = f"{tensor}.{part or 'real'}"
        value = producer.inputs[0]


RULE = Rewrite("name after tensors", match, rewrite)
