"""Graphs of one operator whose results are full of ties, with the codes to feed them.

Multipliers are ratios of small integers, most of them powers of two, so that many results lie half
way between two codes, where one rounding differs from another. Each graph comes twice: with scales
that make them exactly, and with scales that float32 cannot join exactly, whose results lie beside
the ties, where the last bit of a multiplier decides.
"""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.sweeps.elementwise import (
    broadcasts,
    functions,
    gelus,
    hard_swishes,
    pairs,
    rescales,
    slopes,
)
from benchmarks.sweeps.layers import every_sum, rows, windows
from benchmarks.sweeps.pools import means, pools
from benchmarks.sweeps.products import products
from benchmarks.sweeps.shares import shares
from benchmarks.sweeps.sweep import Sweep
from benchmarks.sweeps.transposed import turned
from benchmarks.sweeps.wide import wide_sweeps


def sweeps_of(bits: int) -> Iterator[Sweep]:
    """Those over signed codes of 8 or 16 bits."""
    return {8: every_sweep, 16: wide_sweeps}[bits]()


def every_sweep() -> Iterator[Sweep]:
    """All of those over s8 codes, operator by operator."""
    for operator in ("CONV_2D", "DEPTHWISE_CONV_2D"):
        yield from every_sum(operator)
        yield from windows(operator)
    yield from turned()
    yield from every_sum("FULLY_CONNECTED")
    yield from rows()
    yield from products()
    for operator in ("ADD", "MUL"):
        yield from pairs(operator)
        yield from broadcasts(operator)
    yield from means()
    yield from rescales()
    yield from functions("LOGISTIC")
    yield from functions("TANH")
    yield from slopes()
    yield from hard_swishes()
    yield from gelus()
    yield from shares()
    yield from pools("AVERAGE_POOL_2D")
    yield from pools("MAX_POOL_2D")
