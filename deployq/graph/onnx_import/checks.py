"""What an ONNX file must be before it is imported; each check is one rule."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable

import onnx

from deployq.errors import InputError, UnsupportedError


def check_float(where: str, nodes: Iterable[onnx.NodeProto]) -> None:
    """The file is not quantized already.

    Raises:
        InputError: a node computes with codes.
    """
    found = Counter(node.op_type for node in nodes if _is_quantized(node))
    if not found:
        return
    raise InputError(
        where,
        "export takes a float model; this one is quantized already",
        found=_listed(found),
        allowed="float operators only",
        next_step="run it with `deployq simulate`, or export the float model it came from",
    )


def _is_quantized(node: onnx.NodeProto) -> bool:
    kind = node.op_type
    return (
        kind.startswith(("QLinear", "DynamicQuantize", "QGemm", "QAttention", "MatMulNBits"))
        or kind.endswith(("QuantizeLinear", "DequantizeLinear", "Integer", "IntegerToFloat"))
        or kind in ("QuantizeLinear", "DequantizeLinear")
    )


def check_operators(
    where: str, opset: int, nodes: Iterable[onnx.NodeProto], known: Collection[str]
) -> None:
    """Every operator is known; all that are not are listed at once.

    Raises:
        UnsupportedError: with the operators, their domains and the first node of each.
    """
    first: dict[tuple[str, str], str] = {}
    found: Counter[str] = Counter()
    for node in nodes:
        domain = node.domain or "ai.onnx"
        if domain == "ai.onnx" and node.op_type in known:
            continue
        key = f"{domain}.{node.op_type}"
        found[key] += 1
        first.setdefault((key, ""), node.name or next(iter(node.output), ""))
    if not found:
        return
    listed = ", ".join(f"{k} x{n} (first: {first[k, '']})" for k, n in sorted(found.items()))
    raise UnsupportedError(
        where,
        f"every operator has a form in torch here (ai.onnx opset {opset})",
        found=listed,
        allowed=", ".join(sorted(known)),
        next_step="replace them in the network, or give deployq a .pt2 file of it",
    )


def _listed(found: Counter[str]) -> str:
    return ", ".join(f"{name} x{count}" for name, count in sorted(found.items()))
