"""What an ONNX file must be before it is imported; each check is one rule."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable

import onnx

from deployq.errors import InputError, UnsupportedError

OPSETS = range(7, 27)
"""Versions of the default domain whose operators are known here."""

DEFAULT_DOMAIN = ("", "ai.onnx")


def check_opset(where: str, model: onnx.ModelProto) -> int:
    """The version of the default domain.

    Raises:
        UnsupportedError: none, or one whose operators are unknown.
    """
    versions = [o.version for o in model.opset_import if o.domain in DEFAULT_DOMAIN]
    if len(versions) == 1 and versions[0] in OPSETS:
        return int(versions[0])
    raise UnsupportedError(
        where,
        "the file states one known opset of the domain ai.onnx",
        found=", ".join(map(str, versions)) or "none",
        allowed=f"{OPSETS[0]} to {OPSETS[-1]}",
        next_step="convert it with onnx.version_converter.convert_version(model, 21)",
    )


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
