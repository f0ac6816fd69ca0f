"""What OpenVINO's CPU plugin really executes, read from its runtime graph."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import onnx

BORDERS = ("QuantizeLinear", "DequantizeLinear")
NOT_EXECUTED = ("Const", "Input", "Output")
MOVERS = ("Reorder", "Transpose", "Reshape", "Convert")
"""They bring a tensor into the layout or type that the next layer takes."""
IN_FLOAT = ("LayerNormalization", "Softmax")
"""Run in float, by layers of which some have names of OpenVINO's own: one kernel on bytes may hold
the Softmax between its two products.
"""
BYTES = ("i8", "u8")
"""Last part of the name of a kernel on bytes, in small letters."""


@dataclass(frozen=True)
class Layer:
    """One node of the runtime graph.

    Args:
        name: OpenVINO's own.
        kind: OpenVINO's: ``Convolution``, ``FullyConnected``, ``Eltwise``, ...
        kernel: the implementation, as ``brgconv_avx512_I8``.
        precision: of what it reads, by OpenVINO: ``u8``, ``i8``, ``f32``, ...
        writes: type of its output.
        covers: names of the ONNX nodes that were fused into it, in its order.
    """

    name: str
    kind: str
    kernel: str
    precision: str
    writes: str
    covers: tuple[str, ...]

    @property
    def in_int8(self) -> bool:
        """Its kernel computes on bytes. The stated precision does not tell: it is that of codes
        which a kernel in float reads, too, and i4 for weights that it decompresses.
        """
        return self.kernel.rpartition("_")[2].lower() in BYTES

    @property
    def moves(self) -> bool:
        """It computes nothing."""
        return self.kind in MOVERS


@dataclass(frozen=True)
class Coverage:
    """Every executed layer, and the ONNX nodes that compute.

    Args:
        layers: in the order of execution.
        nodes: name of a computing node of the file (no quantizer, no DequantizeLinear) to its
            operator, in the file's order.
        sums: name of an Add to the convolutions whose reals it reads, without codes between.
    """

    layers: tuple[Layer, ...]
    nodes: Mapping[str, str]
    sums: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def layer_of(self, node: str) -> Layer | None:
        """The layer in which an ONNX node begins; None where OpenVINO names none.

        Movement before it does not count, nor do layers behind it, which hold its dequantization.
        """
        named = [layer for layer in self.layers if node in layer.covers]
        return next((layer for layer in named if not layer.moves), named[0] if named else None)

    def runs_in_integers(self, node: str) -> bool:
        """True when the ONNX node of this name became an int8 kernel."""
        layer = self.layer_of(node)
        return layer is not None and layer.in_int8 and self.nodes.get(node) not in IN_FLOAT

    @property
    def floats(self) -> tuple[str, ...]:
        """Computing nodes that run in float; one that no layer names, where nothing else could."""
        unplaced = set(self.unplaced)
        return tuple(
            node for node in self.nodes if node not in unplaced and not self.runs_in_integers(node)
        )

    @property
    def unplaced(self) -> tuple[str, ...]:
        """Computing nodes that no layer names: folded into constants, or dropped."""
        return tuple(
            node
            for node, operator in self.nodes.items()
            if self.layer_of(node) is None and operator not in IN_FLOAT
        )

    @property
    def rounding_lost(self) -> tuple[str, ...]:
        """Sums that were fused into a convolution before them, whose codes are not rounded. One
        whose reals the sum reads has none.
        """
        return tuple(
            node
            for layer in self.layers
            if layer.kind == "Convolution" and layer.in_int8
            for node in layer.covers
            if node in self.sums and self.sums[node].isdisjoint(layer.covers)
        )


def coverage_of(compiled: Any, model: onnx.ModelProto) -> Coverage:
    """Read the runtime graph of a compiled model.

    Args:
        compiled: an ``openvino.CompiledModel``.
        model: the file that it came from.
    """
    known = _names(model)
    facts = (
        (str(node.get_friendly_name()), {k: _text(v) for k, v in node.get_rt_info().items()})
        for node in compiled.get_runtime_model().get_ordered_ops()
    )
    layers = tuple(
        _layer(name, stated, known)
        for name, stated in facts
        if stated.get("layerType") not in NOT_EXECUTED
    )
    computing = {n.name: n.op_type for n in model.graph.node if n.op_type not in BORDERS}
    return Coverage(layers, computing, _sums(model))


def _sums(model: onnx.ModelProto) -> dict[str, frozenset[str]]:
    convolutions = {n.output[0]: n.name for n in model.graph.node if n.op_type == "Conv"}
    return {
        node.name: frozenset(convolutions[name] for name in node.input if name in convolutions)
        for node in model.graph.node
        if node.op_type == "Add"
    }


def _text(value: Any) -> str:
    return value if isinstance(value, str) else str(value.astype(str))


def _layer(name: str, stated: Mapping[str, str], known: Mapping[str, tuple[str, ...]]) -> Layer:
    return Layer(
        name,
        kind=stated.get("layerType", ""),
        kernel=stated.get("primitiveType", ""),
        precision=stated.get("runtimePrecision", ""),
        writes=stated.get("outputPrecisions", ""),
        covers=_covered(stated.get("originalLayersNames", "").split(","), known),
    )


def _covered(originals: Iterable[str], known: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """ONNX names of OpenVINO's, which adds parts as ``/WithoutBiases`` to some nodes' own."""
    found = (known.get(name) or known.get(_before_parts(name, known), ())[:1] for name in originals)
    return tuple(dict.fromkeys(name for names in found for name in names))


def _before_parts(name: str, known: Collection[str]) -> str:
    """``conv/WithoutBiases/DequantizationMultiply`` without its last parts."""
    while name not in known and "/" in name:
        name = name.rpartition("/")[0]
    return name


def _names(model: onnx.ModelProto) -> dict[str, tuple[str, ...]]:
    """What OpenVINO may call a node, its name or the graph output that it writes, to its name; the
    layer before a clamp may be named as the output that the clamp writes.
    """
    outputs = {output.name for output in model.graph.output}
    found: dict[str, tuple[str, ...]] = {n.name: (n.name,) for n in model.graph.node if n.name}
    for node in model.graph.node:
        for name in outputs.intersection(node.output):
            found[name] = tuple(dict.fromkeys((*found.get(name, ()), node.name)))
    return found
