"""The layers of a TensorRT engine, and which products of the file run in int8.

Where a device is present the engine's inspector gives them as JSON. Without one no engine can be
opened, and they are read from the line that the builder logs at its end: the inspector's text form
of the same facts (seen in TensorRT for RTX 1.7.1).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import onnx

LOGGED = "Layers:\n"
"""How the builder's line begins."""

PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
INT8 = "Int8"
FIELD = r"{}: \[(.*?\}})\]"
TYPE = r"(?:Format/)?Datatype: (\w+)"
ELEMENT = re.compile(r"\b(Int8|Int4|Int32|Int64|Bool|Float|Half|FP32|FP16|BF16|FP8|FP4)\b", re.I)
"""Element types in the inspector's words, which full TensorRT puts in a sentence of the layout."""
HELD = re.compile(r"ONNX Layer: ([^\]\x1e]+)")


@dataclass(frozen=True)
class EngineLayer:
    """One kernel of an engine.

    Args:
        name, kind: as the engine has them; a kind names a family of kernels.
        inputs, constants, outputs: element types of what it reads, holds and writes.
        nodes: names of the ONNX nodes that it computes, or a part of.
    """

    name: str
    kind: str
    inputs: tuple[str, ...]
    constants: tuple[str, ...]
    outputs: tuple[str, ...]
    nodes: tuple[str, ...]

    @property
    def multiplies_codes(self) -> bool:
        """Reads nothing but int8, of which there are two factors."""
        factors = len(self.inputs) + self.constants.count(INT8)
        return set(self.inputs) == {INT8} and factors > 1


@dataclass(frozen=True)
class Coverage:
    """Names of the products of a file, by what they run in."""

    in_int8: tuple[str, ...]
    others: tuple[str, ...]

    @property
    def share(self) -> float:
        """Of the products that run in int8; 0 where there are none."""
        count = len(self.in_int8) + len(self.others)
        return len(self.in_int8) / count if count else 0.0


def coverage(model: onnx.ModelProto, layers: Iterable[EngineLayer]) -> Coverage:
    """Which Conv, ConvTranspose, Gemm and MatMul of a file an engine computes in int8.

    A convolution is one kernel on codes, and a part of the next, which scales its sums: one layer
    on codes that holds the node is enough.
    """
    on_codes = {node for layer in layers if layer.multiplies_codes for node in layer.nodes}
    names = [node.name for node in model.graph.node if node.op_type in PRODUCTS]
    return Coverage(
        tuple(name for name in names if name in on_codes),
        tuple(name for name in names if name not in on_codes),
    )


def logged_layers(line: str) -> tuple[EngineLayer, ...]:
    """The layers of the builder's line; none where it is another line."""
    if not line.startswith(LOGGED):
        return ()
    return tuple(_logged(text) for text in line.splitlines() if "LayerType: " in text)


def _logged(text: str) -> EngineLayer:
    name, _, rest = text.removeprefix("Name: ").partition(", LayerType: ")
    inputs, constants, outputs = (
        _logged_types(rest, field) for field in ("Inputs", "Constants", "Outputs")
    )
    return EngineLayer(
        name, rest.partition(",")[0], inputs, constants, outputs, tuple(HELD.findall(rest))
    )


def _logged_types(text: str, field: str) -> tuple[str, ...]:
    found = re.search(FIELD.format(field), text)
    return tuple(re.findall(TYPE, found[1])) if found else ()


def inspected_layers(content: str) -> tuple[EngineLayer, ...]:
    """The layers of the inspector's JSON, of an engine that was built with detailed verbosity.

    By the vendor's examples of TensorRT 8 to 11 and the builder's log of TensorRT for RTX, which
    spell the fields differently; no engine could be opened where it was written.
    """
    layers = json.loads(content).get("Layers", ())
    return tuple(_inspected(layer) for layer in layers if isinstance(layer, dict))


def _inspected(layer: Mapping[str, Any]) -> EngineLayer:
    inputs, held, outputs = (
        _inspected_types(layer.get(field, ())) for field in ("Inputs", "Constants", "Outputs")
    )
    held += tuple(layer[field]["Type"] for field in ("Weights", "Bias") if field in layer)
    nodes = tuple(HELD.findall(str(layer.get("Metadata", ""))))
    kind = str(layer.get("LayerType", ""))
    return EngineLayer(str(layer.get("Name", "")), kind, inputs, held, outputs, nodes)


def _inspected_types(tensors: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    return tuple(_element(tensor) for tensor in tensors)


def _element(tensor: Mapping[str, Any]) -> str:
    """``Int8`` of ``Datatype: Int8``, or of ``Thirty-two wide ... row major Int8 format``."""
    stated = [str(text) for field, text in tensor.items() if field.lower().endswith("datatype")]
    found = ELEMENT.search(" ".join(stated))
    return found[1].title() if found else ""
