"""The folder of golden vectors: arrays, memory images, C, and what the manifest says of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from deployq.arithmetic.requant_words import BiasOrder
from deployq.qgraph.nodes import Linear
from deployq.qparams import QParams
from deployq_exporters.golden.header import HEADER, PROGRAM, header_text, program_text
from deployq_exporters.golden.hex_files import hex_text
from deployq_exporters.golden.layer_data import Item, layer_items, sum_bits
from deployq_exporters.golden.scaling import Scaling
from deployq_exporters.golden.trace import Layer, Trace, Vectors

ARRAYS, IMAGES, PROGRAMS = "npz", "hex", "c"


def write_vectors(trace: Trace, folder: Path) -> dict[str, Any]:
    """Write every file but the manifest; returns its facts.

    Args:
        folder: empty.
    """
    for name in (ARRAYS, IMAGES, PROGRAMS):
        (folder / name).mkdir()
    layers = [_write_layer(i, layer, trace, folder) for i, layer in enumerate(trace.layers)]
    (folder / PROGRAMS / HEADER).write_text(header_text(trace), "utf-8")
    (folder / PROGRAMS / PROGRAM).write_text(program_text(), "utf-8")
    accumulator, packing = trace.accumulator, trace.packing
    return {
        "target": trace.target,
        "samples": trace.samples,
        "accumulator": {"bits": accumulator.bits, "overflow": accumulator.overflow.value,
                        "stored_bits": sum_bits(accumulator)},
        "packing": {"word_bits": packing.word_bits, "byte_order": packing.byte_order.value,
                    "code_order": packing.code_order.value, "weight_planes": packing.planes,
                    "plane_channels": packing.channels},
        "layers": layers,
        "floats": list(trace.floats),
    }  # fmt: skip


def _write_layer(index: int, layer: Layer, trace: Trace, folder: Path) -> dict[str, Any]:
    stem, node = f"{index:03d}_{layer.node.op_type}", layer.node
    arrays: dict[str, Any] = {}
    images = []
    for item in layer_items(layer, trace):
        arrays[item.name.replace(".", "/")] = _stored(item)
        path = f"{IMAGES}/{stem}.{item.name}.hex"
        (folder / path).write_text(hex_text(item, layer, trace.packing), "ascii")
        images.append(path)
    operands = {f"input{i}": q for i, q in enumerate(layer.inputs)} | {"output": layer.out}
    if isinstance(node, Linear):
        operands["weight"] = node.weight_qparams
    for name, qparams in operands.items():
        arrays |= {f"{name}_scale": qparams.scale, f"{name}_zero_point": qparams.zero_point}
    np.savez_compressed(folder / ARRAYS / f"{stem}.npz", allow_pickle=False, **arrays)
    return {
        "name": node.name, "op": node.op_type,
        "inputs": list(node.inputs), "output": node.output,
        "types": {name: _type_facts(qparams) for name, qparams in operands.items()},
        **_bias_facts(layer),
        "clip": [layer.plan.low, layer.plan.high],
        "steps": [_step_facts(scaling) for scaling in layer.plan.scalings],
        "arrays": f"{ARRAYS}/{stem}.npz", "images": images,
        "vectors": {v.source.value: _vector_facts(v) for v in layer.vectors},
        "missed": dict(layer.missed),
    }  # fmt: skip


def _stored(item: Item) -> Any:
    """In a NumPy type of the width; codes under 8 bits in bytes."""
    kind = "i" if item.is_signed else "u"
    return item.values.astype(f"{kind}{max(item.bits, 8) // 8}")


def _type_facts(qparams: QParams) -> dict[str, Any]:
    qtype = qparams.qtype
    return {"type": qtype.name, "range": [qtype.qmin, qtype.qmax]}


def _bias_facts(layer: Layer) -> dict[str, Any]:
    """Where the array ``bias`` is added; nothing of a layer without."""
    node, scalings = layer.node, layer.plan.scalings
    if any(scaling.late is not None for scaling in scalings):
        return {"bias_order": BiasOrder.AFTER_SCALE.value}
    is_summed = isinstance(node, Linear) and node.bias is not None
    return {"bias_order": BiasOrder.BEFORE_SCALE.value} if is_summed else {}


def _step_facts(scaling: Scaling) -> dict[str, Any]:
    if scaling.counted is not None:
        count = scaling.counted.thresholds.shape[1]
        return {
            "rounding": scaling.rounding, "thresholds": count, "lowest": scaling.counted.lowest,
        }  # fmt: skip
    facts: dict[str, Any] = {
        "rounding": scaling.rounding, "float_bits": scaling.precision, "offset": scaling.offset,
    }  # fmt: skip
    if scaling.before is not None:
        facts["before"] = _step_facts(scaling.before)
    return facts | ({} if scaling.post_shift < 0 else {"post_shift": scaling.post_shift})


def _vector_facts(vectors: Vectors) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "inputs": [list(codes.shape) for codes in vectors.inputs],
        "output": list(vectors.output.shape),
    }
    return facts | ({"reaches": [list(row) for row in vectors.reaches]} if vectors.reaches else {})
