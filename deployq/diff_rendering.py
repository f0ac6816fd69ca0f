"""A comparison of two sides as a table, and the causes of its first differences as lines."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.table import Table

from deployq.console import open_console
from deployq.divergence.facts import Apart, Divergence, Explanation, Gap, Row, Tried

SHOWN = 6
"""Changes, or tensors that are not compared, that a line names; JSON has all."""


def print_divergence(found: Divergence) -> None:
    """Every tensor, what was not compared, the first difference and its cause."""
    console = open_console()
    console.print(_table(found))
    for line in [*_apart_lines(found.apart), *_verdict_lines(found)]:
        console.print(line)


def _table(found: Divergence) -> Table:
    title = f"A = {found.a}, B = {found.b} ({found.samples} samples)"
    table = Table(title=title, title_justify="left")
    table.add_column("tensor", no_wrap=True)
    for column in ("codes", "different", "share", "max LSB", "SQNR dB"):
        table.add_column(column, justify="right")
    for column in ("fed A: different", "share", "max LSB", "SQNR dB"):
        table.add_column(column, justify="right")
    for row in found.rows:
        fed = ["not fed", "", "", ""] if row.fed is None else _gap_cells(row.fed, row)
        table.add_row(row.tensor, f"{row.compared:,}", *_gap_cells(row.free, row), *fed)
    return table


def _gap_cells(gap: Gap, row: Row) -> list[str]:
    sqnr = "" if gap.sqnr_db is None else f"{gap.sqnr_db:.1f}"
    return [f"{gap.different:,}", _percent(gap.different / row.compared), str(gap.max_lsb), sqnr]


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def _apart_lines(apart: Sequence[Apart]) -> list[str]:
    """One line a reason."""
    tensors: dict[str, list[str]] = {}
    for one in apart:
        tensors.setdefault(one.reason, []).append(one.tensor)
    return [f"not compared, {reason}: {_some(names)}" for reason, names in tensors.items()]


def _verdict_lines(found: Divergence) -> list[str]:
    if found.first is None:
        counts = f"tensors: {len(found.rows)}, samples: {found.samples}"
        apart = [apart.tensor for apart in found.apart if apart.differs]
        scales = [f"difference: other scales of {_some(apart)}"] if apart else []
        return [*scales, f"no difference in {found.compared:,} codes ({counts})"]
    lines = [] if found.explanations else [f"first difference: {found.first.tensor}"]
    for number, explanation in enumerate(found.explanations):
        lines += _explanation_lines(explanation, "next" if number else "first")
    return lines


def _explanation_lines(found: Explanation, which: str) -> list[str]:
    node = f" ({found.node})" if found.node else ""
    head = f"{which} difference: {found.tensor}{node}"
    if found.remark:
        return [head, f"cause: {found.verdict}; {found.remark}"]
    lines = [
        f"{head}, fed A's codes {found.different:,} of {found.codes:,} codes "
        f"({_percent(found.different / found.codes)})"
    ]
    if not found.shown:
        return [*lines, f"cause: {found.verdict}; {_closest(found)}"]
    apart = ", which the data does not distinguish" if len(found.causes) > 1 else ""
    lines.append(f"cause: {found.verdict}{apart}")
    for cause in found.causes:
        changes = _changes(tried for tried in found.shown if tried.cause is cause)
        lines.append(f"  {cause}: {_some(changes, '; ')}")
    return [
        *lines,
        f"{found.base} with this one change gives every code of {found.other}; "
        f"{found.changes} changes tried",
    ]


def _closest(found: Explanation) -> str:
    """What is known of an unknown cause; no more than information."""
    tried = f"none of {found.changes} changes reproduces it"
    if found.closest is None:
        return f"{tried}, and none comes closer"
    return (
        f"{tried}; closest: {found.closest.cause}, {found.closest.text}, explains "
        f"{_percent(found.share(found.closest))} of the differences"
    )


def _changes(tried: Iterable[Tried]) -> list[str]:
    """Each change once, with the widths that were tried for it joined."""
    widths: dict[str, list[int]] = {}
    for one in tried:
        widths.setdefault(one.detail, [])
        widths[one.detail] += [] if one.bits is None else [one.bits]
    return [
        f"{detail} of {_ranges(sorted(bits))} bits" if bits else detail
        for detail, bits in widths.items()
    ]


def _ranges(numbers: Sequence[int]) -> str:
    """``8``, ``12 to 16``, ``8, 12 to 16``."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(f"{r[0]} to {r[-1]}" if len(r) > 1 else str(r[0]) for r in runs)


def _some(names: Sequence[str], joint: str = ", ") -> str:
    more = f"{joint}and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return joint.join(names[:SHOWN]) + more
