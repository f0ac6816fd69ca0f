"""What files show of [container]."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from deployq.errors import UnsupportedError
from deployq.qgraph.nodes import Move
from deployq_targets.checks.facts import TYPES
from deployq_targets.inference.fact import Fact, Facts, NamedFile, Seen, greatest, least, listed
from deployq_targets.profile import CONTAINER_OPSETS
from deployq_targets.words import Format, ZeroPointInput

LEAST_OPSET = min(CONTAINER_OPSETS.values())
"""Of QuantizeLinear, and of every profile."""


def container_facts(files: Sequence[NamedFile]) -> Facts:
    """Form, versions and types of the files.

    Raises:
        UnsupportedError: an opset before those that profiles speak of.
    """
    opsets = [Seen(named.file.opset, named.name) for named in files]
    low, high = least(opsets), greatest(opsets)
    if low.value < LEAST_OPSET:
        raise UnsupportedError(
            low.where, "profiles speak of opsets with quantized tensors", found=str(low.value),
            allowed=f"{LEAST_OPSET} and more", next_step="convert the file to a later opset",
        )  # fmt: skip
    ir = greatest(Seen(named.file.model.ir_version, named.name) for named in files)
    return {
        "container.format": _format(files),
        "container.opset_min": Fact(low.value, low.where),
        "container.opset_prefer": Fact(high.value, high.where),
        "container.opset_max": Fact(high.value, high.where),
        "container.ir_max": Fact(ir.value, ir.where),
        "container.int_types": listed(_stored_types(files)),
        **_spelling(files),
        **_shapes(files),
    }


def _format(files: Sequence[NamedFile]) -> Fact:
    for named in files:
        for node in named.file.model.graph.node:
            if node.op_type.startswith(("QLinear", "QGemm")):
                return Fact(Format.ONNX_QOP.value, named.at(node.op_type))
        for made in named.file.graph.nodes:
            if isinstance(made, Move) and made.op_type == "Clip":
                return Fact(Format.ONNX_QCDQ.value, named.at(f"Clip {made.name}"))
    return Fact(Format.ONNX_QDQ.value, "nodes between DequantizeLinear and QuantizeLinear")


def _stored_types(files: Sequence[NamedFile]) -> Iterator[Seen]:
    for named in files:
        for name, qtype in named.file.activations.items():
            yield Seen(qtype.name, named.at(name))
        for name, tensor in named.file.constants.items():
            if tensor.data_type in TYPES and name in _codes(named):
                yield Seen(TYPES[tensor.data_type], named.at(name))


def _codes(named: NamedFile) -> frozenset[str]:
    """Stored tensors that operators on codes read: weights and biases among them."""
    first = {
        name for node in named.file.model.graph.node for name in node.input
        if node.op_type.startswith(("QLinear", "QGemm"))
    }  # fmt: skip
    return frozenset(first | {border.tensor for border in named.file.borders if border.stored})


def _spelling(files: Sequence[NamedFile]) -> Facts:
    """How parameters are written."""
    facts: Facts = {}
    borders = [(named, border) for named in files for border in named.file.borders]
    ranks = {
        array.ndim: named.at(border.node)
        for named, border in borders
        for array in (border.scale, border.zero_point)
        if array is not None and array.size == 1
    }
    if len(ranks) == 1:
        ((rank, where),) = ranks.items()
        facts["container.scalar_rank"] = Fact(rank, where)
    present = {border.has_zero_point: named.at(border.node) for named, border in borders}
    words = {True: ZeroPointInput.REQUIRED, False: ZeroPointInput.OMIT}
    if present:
        word = words[next(iter(present))] if len(present) == 1 else ZeroPointInput.OPTIONAL
        shown = "; ".join(present.values())
        facts["container.zero_point_input"] = Fact(word.value, shown)
    return facts


def _shapes(files: Sequence[NamedFile]) -> Facts:
    """Ranks, and whether sizes are fixed."""
    facts: Facts = {}
    shapes = [
        (named.at(name), shape)
        for named in files for name, shape in named.file.shapes.items()
    ]  # fmt: skip
    if shapes:
        rank = greatest(Seen(len(shape), where) for where, shape in shapes)
        facts["container.max_rank"] = Fact(max(rank.value, 1), rank.where)
    known = all(
        name in named.file.shapes
        for named in files for node in named.file.model.graph.node for name in node.output if name
    )  # fmt: skip
    open_at = [where for where, shape in shapes if any(isinstance(size, str) for size in shape)]
    static = known and not open_at
    shown = "every size is a number" if static else f"sizes {[*open_at, 'behind operators'][0]}"
    facts["container.static_shapes"] = Fact(static, shown)
    free = [named.at(name) for named in files for name in _without_batch_one(named)]
    shown = "every input has batch 1" if not free else f"the batch of {free[0]}"
    facts["container.batch_one"] = Fact(not free, shown)
    return facts


def _without_batch_one(named: NamedFile) -> Iterator[str]:
    """Inputs whose first size is free, or not 1."""
    for value in named.file.model.graph.input:
        sizes = value.type.tensor_type.shape.dim
        if value.name in named.file.graph.inputs and (not sizes or sizes[0].dim_value != 1):
            yield value.name
