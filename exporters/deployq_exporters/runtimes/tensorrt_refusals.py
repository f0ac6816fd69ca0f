"""What TensorRT's parser and builder say, and the rule of ``deployq check`` that says the same."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import onnx

MOST_TEXT = 400
"""Characters of a vendor's message that an error quotes."""

NOISE = "catchCudaError"
"""Mark of lines that say that there is no device, which is no fault of the file."""


@dataclass(frozen=True)
class Refusal:
    """One message.

    Args:
        where: node or initializer of the file; "" where the message names none.
        rule: id of a rule of ``deployq check``; "" where none speaks of it.
        message: the vendor's.
    """

    where: str
    rule: str
    message: str


@dataclass(frozen=True)
class Said:
    """A message as it came.

    Args:
        text: the vendor's.
        model: the file.
        node: of the file, where the message names one.
    """

    text: str
    model: onnx.ModelProto
    node: onnx.NodeProto | None


def _zero_point(said: Said) -> str:
    return "weight-zero-point" if _reads_stored(said) else "activation-zero-point"


def _wide_codes(said: Said) -> str:
    return "bias-form" if _reads_stored(said) else "integer-types"


def _reads_stored(said: Said) -> bool:
    """The node reads stored codes: a weight or a bias."""
    names = {tensor.name for tensor in said.model.graph.initializer}
    return said.node is not None and said.node.input[0] in names


def _narrow_factor(said: Said) -> str:
    """Which factor of the product is narrow: only the file tells."""
    narrow = {t.name for t in said.model.graph.initializer if t.data_type == onnx.TensorProto.INT4}
    reading = [(node.op_type, set(node.input) & narrow) for node in said.model.graph.node]
    if any(names for operator, names in reading if operator == "QuantizeLinear"):
        return "activation-type"
    return "weight-type" if any(names for _, names in reading) else ""


KNOWN: tuple[tuple[str, Callable[[Said], str]], ...] = (
    ("Non-zero zero point", _zero_point),
    ("input has type Int32", _wide_codes),
    ("Failed to import initializer", lambda said: "integer-types"),
    ("dtype == W.type()", _narrow_factor),
    ("UNSUPPORTED_NODE", lambda said: "operator"),
)
"""A part of a message, and the rule; the first part that is there decides."""


def refusal(model: onnx.ModelProto, text: str, index: int = -1) -> Refusal:
    """A message with its place and its rule.

    Args:
        model: the file.
        text: code and message of the parser or the builder.
        index: of the node in the file; below 0 where the message has none.
    """
    nodes = model.graph.node
    node = nodes[index] if 0 <= index < len(nodes) else None
    said = Said(text, model, node)
    rule = next((rule(said) for part, rule in KNOWN if part in text), "")
    initializer = re.search(r"Failed to import initializer: (\S+)$", text)
    where = initializer[1] if initializer else ""
    if node is not None and not where:
        where = node.name or node.output[0]
    lines = [line for line in text.splitlines() if NOISE not in line]
    return Refusal(where, rule, " ".join(lines)[:MOST_TEXT])
