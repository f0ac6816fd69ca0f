"""Rules on what a file costs on the target, which takes it all the same."""

from __future__ import annotations

from collections.abc import Iterator

from deployq.qgraph.nodes import Linear
from deployq_targets.checks.facts import CheckedFile
from deployq_targets.checks.finding import Breach, Rule, Severity
from deployq_targets.checks.shapes import CONVOLUTIONS
from deployq_targets.checks.totals import UNKNOWN, live_codes, weight_bytes
from deployq_targets.checks.weights import layers
from deployq_targets.profile import TargetProfile


def alignment(file: CheckedFile, profile: TargetProfile) -> Iterator[Breach]:
    """Layers are computed in multiples of {align.cin} input and {align.cout} output channels."""
    for node in layers(file):
        inputs, outputs = _channels(node)
        for found, of, word in (
            (inputs, profile.align.cin, "input"), (outputs, profile.align.cout, "output"),
        ):  # fmt: skip
            if of is not None and found % of:
                padded = -(-found // of) * of
                yield Breach(
                    node.name, node.output, f"{found} {word} channels", f"multiples of {of}",
                    f"use {padded}: they are computed anyway",
                )  # fmt: skip


def shared_memory(file: CheckedFile, profile: TargetProfile) -> Iterator[Breach]:
    """Packed weights and the codes of one sample that are alive at once fit into
    {memory.shared_bytes} bytes together.
    """
    limit, live = profile.memory.shared_bytes, live_codes(file)
    if limit is not None and live is None:
        yield UNKNOWN
    elif limit is not None and live is not None:
        total = weight_bytes(file, profile) + live.size
        if total > limit:
            yield Breach(
                "", live.tensor, f"{total} bytes, {live.size} of them activations",
                f"up to {limit}", "use fewer bits or smaller maps where memory outside is slow",
            )  # fmt: skip


def _channels(node: Linear) -> tuple[int, int]:
    """Of inputs and outputs."""
    if node.op_type in CONVOLUTIONS:
        return node.weight.shape[1] * node.geometry.groups, node.weight.shape[0]
    return node.weight.shape[0], node.weight.shape[1]


RULES = (
    Rule(
        "alignment", alignment, ("align.cin", "align.cout"),
        "The array of multipliers has rows and columns; those without a channel compute zeros.",
        "An image of 3 channels on an array of 8 rows.",
        Severity.NOTE,
    ),
    Rule(
        "shared-memory", shared_memory, ("memory.shared_bytes",),
        "What does not fit on the chip is fetched from outside, once for each inference.",
        "A ResNet-50 on a chip with 384 KiB.",
        Severity.WARNING,
    ),
)  # fmt: skip
