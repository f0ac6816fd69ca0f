"""What a ``.tflite`` file cannot say, in words."""

from __future__ import annotations

from deployq.errors import UnsupportedError
from deployq.qgraph.nodes import Node


def refuse(
    node: Node, rule: str, *, found: str, allowed: str = "", next_step: str = ""
) -> UnsupportedError:
    """The error for a node that no operator of the file computes."""
    return UnsupportedError(
        f"node {node.name} ({node.op_type})",
        rule,
        found=found,
        allowed=allowed,
        next_step=next_step or "take the ONNX file, or another target",
    )
