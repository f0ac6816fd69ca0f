"""A proof of accumulators as a table."""

from __future__ import annotations

from collections import Counter

from rich.table import Table

from deployq.console import open_console
from deployq.overflow.facts import Layer, Verdict
from deployq.overflow.proof import OverflowProof

LOG_WIDTH = 150
"""Columns of a table where there is no terminal to ask."""


def print_proof(proof: OverflowProof) -> None:
    """A row for each layer, and the totals."""
    console = open_console(LOG_WIDTH)
    accumulator = proof.accumulator
    title = f"sums in {accumulator.bits} bits ({accumulator.overflow}) of {proof.target}"
    table = Table(title=title, title_justify="left")
    table.add_column("layer", overflow="fold")
    table.add_column("operator")
    for column in ("codes", "worst channel", "low", "high", "bits", "any order", "seen"):
        table.add_column(column, justify="right")
    table.add_column("verdict")
    for layer in proof.layers:
        table.add_row(*_row(layer), layer.verdict(accumulator))
    console.print(table)
    for line in total_lines(proof):
        console.print(line)


def _row(layer: Layer) -> tuple[str, ...]:
    codes = ", ".join(f"{values.low}..{values.high}" for values in layer.codes.values())
    if not layer.channels:
        return layer.name, layer.operator, codes, *["?"] * 6
    worst = layer.worst
    return (
        layer.name, layer.operator, codes,
        "all" if worst.index is None else f"{worst.index} of {len(layer.channels)}",
        f"{worst.worst.low:,}", f"{worst.worst.high:,}", str(layer.bits),
        str(layer.any_order_bits), "" if layer.seen_bits is None else str(layer.seen_bits),
    )  # fmt: skip


def total_lines(proof: OverflowProof) -> list[str]:
    """What holds for the whole file, one fact a line."""
    accumulator, known = proof.accumulator, [layer for layer in proof.layers if layer.channels]
    counts = Counter(layer.verdict(accumulator) for layer in proof.layers)
    channels = sum(len(layer.channels) for layer in known)
    failing = sum(len(layer.failing(accumulator)) for layer in known)
    lines = []
    if known:
        bits = max(layer.bits for layer in known)
        any_order = max(layer.any_order_bits for layer in known)
        lines.append(f"bits that hold every sum: {bits}, in any order of summation {any_order}")
    if proof.samples:
        seen = max(layer.seen_bits or 0 for layer in known)
        lines.append(f"bits that hold the sums of {proof.samples} samples: {seen}")
    if any(layer.assumed for layer in known):
        lines.append("the file leaves the size of a map free: bounds hold for every size")
    if proof.floats:
        lines.append(f"in float, without integer sums: {len(proof.floats)} operators")
    if proof.witnesses:
        reaching = sum(witness.reached == witness.bound for witness in proof.witnesses)
        lines.append(
            f"witnesses: {len(proof.witnesses)}, {reaching} of them reach their bound in the "
            "simulator"
        )
    others = [verdict for verdict in _PLURALS if counts[verdict]]
    lines.append(
        f"{proof.source} on {proof.target}: {counts[Verdict.FITS]} of {len(proof.layers)} layers "
        f"fit {accumulator.bits} bits{''.join(f', {counts[v]} {_PLURALS[v]}' for v in others)}; "
        f"{failing} of {channels} channels do not"
    )
    return lines


_PLURALS = {
    Verdict.OVERFLOWS: "overflow",
    Verdict.MAY_OVERFLOW: "may overflow",
    Verdict.UNKNOWN: "are unknown",
}
