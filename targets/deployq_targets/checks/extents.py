"""Rules on the shapes of the target's package: the file with its batch bound to 1."""

from __future__ import annotations

from collections.abc import Iterator

from deployq.qgraph.opsets import DEFAULT_DOMAIN
from deployq_targets.checks.facts import CheckedFile
from deployq_targets.checks.finding import Breach, Rule
from deployq_targets.profile import TargetProfile


def static_shapes(file: CheckedFile, profile: TargetProfile) -> Iterator[Breach]:
    """Every extent but the batch is known: {container.static_shapes}."""
    if not profile.container.static_shapes:
        return
    inputs = set(file.graph.inputs)
    unknown = dict(_unknown(file))
    at_fault = {name: found for name, found in unknown.items() if name in inputs} or unknown
    for name, found in at_fault.items():
        change = "fix this size when the file is exported"
        if name not in inputs:
            change = "compute shapes from constants, not from values"
        yield Breach("", name, found, "known extents", change)


def batch_one(file: CheckedFile, profile: TargetProfile) -> Iterator[Breach]:
    """The package has batch 1: {container.batch_one}; a symbolic batch can be bound to it."""
    if not profile.container.batch_one:
        return
    for name in file.graph.inputs:
        shape = file.shapes.get(name)
        if shape and shape[0] != 1:
            change = "export the file with batch 1, or with a symbolic one"
            yield Breach("", name, f"batch {shape[0]}", "batch 1", change)


def max_rank(file: CheckedFile, profile: TargetProfile) -> Iterator[Breach]:
    """Tensors have at most {container.max_rank} axes."""
    limit = profile.container.max_rank
    for name, shape in file.shapes.items():
        if limit is not None and len(shape) > limit:
            yield Breach("", name, f"rank {len(shape)}", f"up to {limit}", "merge axes")


def _unknown(file: CheckedFile) -> Iterator[tuple[str, str]]:
    """Inputs with an extent that is not known, and tensors that lose one, in file order.

    A shape that was computed from shapes is static where they are, whether inference follows it or
    not. Behind an operator that ONNX does not describe nothing is known, dynamic or not.
    """
    static = _static_values(file)
    for name in file.graph.inputs:
        yield from _loss(file, name)
    for node in file.model.graph.node:
        inputs = [name for name in node.input if name]
        follows = len(inputs) > 1 and static.issuperset(inputs[1:])
        known = all(name in static or not any(_loss(file, name)) for name in inputs)
        if known and not follows and node.domain in DEFAULT_DOMAIN:
            for name in node.output:
                yield from _loss(file, name) if name else ()


def _loss(file: CheckedFile, tensor: str) -> Iterator[tuple[str, str]]:
    """A tensor with what is not known of its shape."""
    if tensor not in file.shapes:
        yield tensor, "an unknown rank"
        return
    symbols = [extent for extent in file.shapes[tensor] if isinstance(extent, str)]
    if symbols:
        yield tensor, f"extent {symbols[0]}"


def _static_values(file: CheckedFile) -> set[str]:
    """Constants, and what follows from them and from shapes alone."""
    found = set(file.constants)
    for node in file.model.graph.node:
        if node.op_type in ("Shape", "Size") or found.issuperset(filter(None, node.input)):
            found.update(node.output)
    return found


RULES = (
    Rule(
        "static-shapes", static_shapes, ("container.static_shapes",),
        "Addresses and loop counts are computed before the chip runs.",
        "An image input of any height and width.",
    ),
    Rule(
        "batch-one", batch_one, ("container.batch_one",),
        "The buffers hold one sample.",
        "A file that was exported with batch 32.",
    ),
    Rule(
        "max-rank", max_rank, ("container.max_rank",),
        "Address generators count along this many axes.",
        "A channel shuffle through a tensor of five axes.",
    ),
)  # fmt: skip
