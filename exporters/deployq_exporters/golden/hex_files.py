"""``$readmemh`` images: comments that say what a file holds, then a word or a number a line."""

from __future__ import annotations

from deployq.qgraph.nodes import Linear
from deployq_exporters.golden.layer_data import Item
from deployq_exporters.golden.packing import BYTE, Packing, numbers, pack, words
from deployq_exporters.golden.trace import Layer
from deployq_exporters.golden.weights import stored_weight


def hex_text(item: Item, layer: Layer, packing: Packing) -> str:
    """The image of one array."""
    name = ascii(layer.node.name)
    shape = "x".join(map(str, item.values.shape)) or "1"
    layout = f" {item.layout}" if item.layout else ""
    lines = [f"{name} ({layer.node.op_type}): {item.name}",
             f"shape {shape}{layout}, last axis fastest"]  # fmt: skip
    if item.is_weight and packing.planes and isinstance(layer.node, Linear):
        weight = stored_weight(layer.node, packing)
        assert weight.planes is not None
        runs, cells, channels = weight.plane_shape
        lines.append(
            f"{weight.bits} planes of {runs} x {cells} cells x {channels} channels "
            f"({weight.used} used), lowest bit first, {_signs(weight.is_signed)}"
        )
        return _file([*lines, _packed(1, packing)], words(weight.planes, packing))
    if item.bits > BYTE:
        lines.append(f"{item.bits} bits, {_signs(item.is_signed)}, one a line")
        return _file(lines, numbers(item.values, item.bits))
    lines += [f"{item.bits} bits, {_signs(item.is_signed)}", _packed(item.bits, packing)]
    data = pack(item.values, item.bits, packing.code_order)
    return _file(lines, words(data, packing))


def _signs(signed: bool) -> str:
    return "two's complement" if signed else "unsigned"


def _packed(bits: int, packing: Packing) -> str:
    text = f"words of {packing.word_bits} bits, first byte {packing.byte_order}-endian"
    return text + (f", {BYTE // bits} in a byte, {packing.code_order}" if bits < BYTE else "")


def _file(comments: list[str], data: list[str]) -> str:
    return "\n".join([*(f"// {line}" for line in comments), *data]) + "\n"
