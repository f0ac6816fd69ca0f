"""Hold two sides against each other, tensor by tensor, and explain the first differences."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy.typing as npt

from deployq.columns import Columns
from deployq.data import Dataset, fit_dataset
from deployq.divergence.counting import RowCounts
from deployq.divergence.explaining import explain_layers
from deployq.divergence.facts import Divergence, Row
from deployq.divergence.feeding import run_fed
from deployq.divergence.matching import Matched, match
from deployq.divergence.notation import open_side
from deployq.divergence.sides import Codes, Side
from deployq.edges import edge_dtypes, real_samples
from deployq.errors import InputError
from deployq.verifier.evidence import MOST_SAMPLES

Array = npt.NDArray[Any]

MOST_CODES = 1 << 23
"""Of all tensors of one batch; a handful of such arrays are in memory at once."""


def diff(
    a: str | Side,
    b: str | Side,
    inputs: Mapping[str, Array],
    *,
    layers: int = 1,
    progress: Callable[[str], None] = lambda stage: None,
) -> Divergence:
    """Where two ways to compute one network part, and why.

    Codes are compared for equality, tensor by tensor in A's graph order: B on its own from the
    inputs on, and B with each layer fed A's codes. The first layers that differ are recomputed from
    A's codes under changes of the arithmetic, one at a time; a cause is named where a change
    reproduces every code of the layer.

    Args:
        a, b: ``reference:BUNDLE[@TARGET]``, ``file:SOURCE``, ``deployed:SOURCE`` or
            ``sim:SOURCE[@TARGET]``; see docs/diff.md.
        inputs: by input of the network, (N, ...): float32, or codes where the file takes codes.
        layers: how many of the layers that differ are explained.
        progress: told of each batch.

    Raises:
        InputError: no such side, inputs that do not fit, or no codes to compare.
        AccumulatorOverflowError: a sum leaves an accumulator whose contract says reject.
        UnsupportedError: a file or contract that cannot be computed.
    """
    first, second = (open_side(side) if isinstance(side, str) else side for side in (a, b))
    matched = match(first, second)
    data = _fitted(first, second, inputs)
    size = _batch(first, second, data)

    def batches() -> Iterator[Codes]:
        return (batch.inputs for batch in data.batches(size))

    rows = _compare(first, second, matched, batches(), progress)
    found = explain_layers(first, second, matched, _first(rows, layers), batches, progress)
    return Divergence(first.label, second.label, len(data), rows, matched.apart, found)


def _compare(
    a: Side, b: Side, matched: Matched, batches: Iterator[Codes], progress: Callable[[str], None]
) -> tuple[Row, ...]:
    """Rows in the order in which A computes its tensors.

    Raises:
        InputError: not one code was compared.
    """
    counts: dict[str, RowCounts] = {}
    for batch in batches:
        codes, free = a.run(batch), matched.on_a(b.run(batch))
        fed = run_fed(b, matched, batch, codes, free)
        for tensor in (tensor for tensor in codes if tensor in free and codes[tensor].size):
            if tensor not in counts:
                counts[tensor] = RowCounts(tensor, int(a.tensors[tensor].zero_point))
            counts[tensor].add(codes[tensor], free[tensor], fed.get(tensor))
        progress("compare")
    rows = tuple(count.row() for count in counts.values())
    if not sum(row.compared for row in rows):
        raise InputError(
            f"{a.label} and {b.label}",
            "0 codes compared are no agreement",
            found=f"{len(rows)} tensors without a code",
            next_step="compare files with integer tensors",
        )
    return rows


def _first(rows: Sequence[Row], count: int) -> list[str]:
    """The first tensor that differs, and those after it that differ where they are fed alike."""
    differing = [row for row in rows if row.differs]
    later = [row for row in differing[1:] if row.fed is not None and row.fed.different]
    return [row.tensor for row in (*differing[:1], *later)][:count]


def _fitted(a: Side, b: Side, inputs: Mapping[str, Array]) -> Dataset:
    """The samples as both sides take them: reals where an input is on a grid.

    Raises:
        InputError: arrays of other names, shapes or types; sides with other inputs.
    """
    edges = {**a.edges, **b.edges}
    shapes, others = a.input_shapes(), b.input_shapes()
    if set(shapes) != set(others):
        raise InputError(
            f"{a.label} and {b.label}",
            "both sides take the same inputs",
            found=f"{', '.join(shapes)} and {', '.join(others)}",
            next_step="compare files of one network",
        )
    columns = Columns(inputs)
    dtypes = {**a.input_dtypes(), **edge_dtypes(columns, edges)}
    return real_samples(fit_dataset("inputs", columns, list(shapes), shapes, dtypes), edges)


def _batch(a: Side, b: Side, data: Dataset) -> int:
    """Samples at a time: those that a file fixes, else fewer where a sample makes many codes.

    Raises:
        InputError: samples that do not fill the batches that a file fixes.
    """
    fixed = a.fixed_batch or b.fixed_batch
    if fixed is not None and len(data) % fixed:
        raise InputError(
            "inputs",
            "a file of a fixed batch takes whole batches",
            found=f"{len(data)} samples",
            allowed=f"a multiple of {fixed}",
            next_step="give more samples, or fewer",
        )
    if fixed is not None:
        return fixed
    each = sum(codes.size for codes in a.run(data.take(1).inputs).values())
    return max(1, min(MOST_SAMPLES, MOST_CODES // max(1, each)))
