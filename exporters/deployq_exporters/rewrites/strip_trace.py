"""Remove what the trace left behind: paths, stack traces, spelled-out defaults, unused constants.

Without it the file would differ between folders and name the build machine (law 7).
"""

from __future__ import annotations

import onnx_ir as ir

from deployq_exporters.rewrites.typed_tensors import TYPED

DEFAULTS: dict[str, dict[str, object]] = {
    "Conv": {"auto_pad": "NOTSET"},
    "ConvTranspose": {"auto_pad": "NOTSET", "output_padding": [0, 0]},
    "MaxPool": {"auto_pad": "NOTSET", "storage_order": 0, "ceil_mode": 0, "dilations": [1, 1]},
    "AveragePool": {"auto_pad": "NOTSET", "ceil_mode": 0},
    "Reshape": {"allowzero": 0},
    "Resize": {
        "antialias": 0, "cubic_coeff_a": -0.75, "exclude_outside": 0, "extrapolation_value": 0.0,
        "keep_aspect_ratio_policy": "stretch",
    },
    "Gemm": {"alpha": 1.0, "beta": 1.0, "transA": 0},
}  # fmt: skip
"""Attributes that say nothing."""


def strip_trace(model: ir.Model) -> None:
    """Clean a model in place; what it computes stays."""
    graph = model.graph
    for node in graph:
        node.metadata_props.clear()
        node.doc_string = None
        for name, default in DEFAULTS.get(node.op_type, {}).items():
            attribute = node.attributes.get(name)
            if attribute is not None and _same(attribute.value, default):
                node.attributes.pop(name)
        for value in node.outputs:
            value.metadata_props.clear()
    for value in [*graph.inputs, *graph.initializers.values()]:
        value.metadata_props.clear()
    drop_unused_initializers(graph)
    for value in list(graph.initializers.values()):
        if str(value.name).endswith(TYPED):
            value.name = str(value.name).removesuffix(TYPED)
    graph.metadata_props.clear()
    model.metadata_props.clear()
    model.doc_string = graph.doc_string = None


def _same(value: object, default: object) -> bool:
    return (list(value) if isinstance(value, (list, tuple)) else value) == default


def drop_unused_initializers(graph: ir.Graph) -> None:
    """Remove constants that no node reads."""
    used = {id(value) for node in graph for value in node.inputs if value is not None}
    used |= {id(value) for value in graph.outputs}
    for name, value in list(graph.initializers.items()):
        if id(value) not in used:
            del graph.initializers[name]
