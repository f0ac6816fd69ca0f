"""What a comparison found: counts of every tensor, and the causes of the first differences."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

UNKNOWN = "unknown"


class Cause(StrEnum):
    """Changes of a layer's arithmetic that substitution can show."""

    ROUNDING = "rounding"
    MULTIPLIER = "multiplier width"
    BIAS = "bias rounding"
    CLIP = "clip order"
    FUSION = "runtime fusion"
    SATURATION = "saturation"


@dataclass(frozen=True)
class Gap:
    """How far the codes of one tensor are apart.

    Args:
        different: codes that differ.
        max_lsb: largest difference.
        sqnr_db: power of A's codes, less their zero point, to that of the differences; None where
            either is zero.
    """

    different: int
    max_lsb: int
    sqnr_db: float | None


@dataclass(frozen=True)
class Row:
    """One compared tensor.

    Args:
        tensor: its name.
        compared: codes.
        distinct: different values that A's codes took.
        free: A against B, each run on its own from the inputs on.
        fed: A against B where B's layer is fed A's codes; None where B cannot be fed there without
            becoming another program.
    """

    tensor: str
    compared: int
    distinct: int
    free: Gap
    fed: Gap | None

    @property
    def differs(self) -> bool:
        return bool(self.free.different or (self.fed and self.fed.different))


@dataclass(frozen=True)
class Apart:
    """A tensor that is not compared, and why; ``differs`` where both sides have it."""

    tensor: str
    reason: str
    differs: bool = False


@dataclass(frozen=True)
class Tried:
    """One change of a layer's arithmetic.

    Args:
        cause: that it would show.
        detail: what was changed.
        bits: the width that was tried; None where the change has none.
        different: codes that it leaves different.
    """

    cause: Cause
    detail: str
    bits: int | None
    different: int

    @property
    def text(self) -> str:
        return self.detail if self.bits is None else f"{self.detail} of {self.bits} bits"


@dataclass(frozen=True)
class Explanation:
    """Why a layer differs.

    Args:
        tensor: that it writes.
        node: its name and operator; empty where no side has the layer as a node.
        base: the side whose arithmetic was changed, one change at a time.
        other: the side whose codes a change must reproduce.
        codes: of the layer.
        different: of them, with the arithmetic unchanged.
        tried: changes that could be computed, fewest remaining differences first; without those of
            which a part alone gives every code.
        changes: how many could be computed.
        remark: why the layer could not be substituted; empty where it could.
    """

    tensor: str
    node: str
    base: str
    other: str
    codes: int
    different: int
    tried: tuple[Tried, ...] = ()
    changes: int = 0
    remark: str = ""

    @property
    def shown(self) -> tuple[Tried, ...]:
        """The changes that reproduce every code of the other side."""
        return tuple(tried for tried in self.tried if not tried.different)

    @property
    def causes(self) -> tuple[Cause, ...]:
        """The causes shown; several are not distinguished by the data."""
        return tuple(dict.fromkeys(tried.cause for tried in self.shown))

    @property
    def verdict(self) -> str:
        """The cause, several with "or" between them, or "unknown"."""
        return " or ".join(self.causes) or UNKNOWN

    @property
    def closest(self) -> Tried | None:
        """Of an unknown cause: the change that leaves the fewest differences, if it mends any."""
        best = None if self.shown else next(iter(self.tried), None)
        return best if best is not None and best.different < self.different else None

    def share(self, tried: Tried) -> float:
        """What part of the differences a change explains."""
        return 1 - tried.different / self.different


@dataclass(frozen=True)
class Divergence:
    """Two sides held against each other.

    Args:
        a, b: the sides, as they were named.
        samples: that both ran.
        rows: compared tensors, in A's graph order; at least one code.
        apart: tensors that were not compared.
        explanations: of the first differing layers, in the same order.
    """

    a: str
    b: str
    samples: int
    rows: tuple[Row, ...]
    apart: tuple[Apart, ...]
    explanations: tuple[Explanation, ...] = ()

    @property
    def compared(self) -> int:
        return sum(row.compared for row in self.rows)

    @property
    def first(self) -> Row | None:
        """The first tensor that differs."""
        return next((row for row in self.rows if row.differs), None)

    @property
    def exit_code(self) -> int:
        """0 where nothing differs, else 1."""
        return int(self.first is not None or any(apart.differs for apart in self.apart))

    def to_json(self) -> dict[str, Any]:
        """Everything, for ``--json``."""
        return {
            "a": self.a,
            "b": self.b,
            "samples": self.samples,
            "compared": self.compared,
            "first": None if self.first is None else self.first.tensor,
            "tensors": [_row(row) for row in self.rows],
            "not_compared": [vars(apart) for apart in self.apart],
            "explanations": [_explanation(found) for found in self.explanations],
        }


def _row(row: Row) -> dict[str, Any]:
    return {
        "tensor": row.tensor,
        "compared": row.compared,
        "distinct": row.distinct,
        "free": _gap(row.free, row.compared),
        "fed": None if row.fed is None else _gap(row.fed, row.compared),
    }


def _gap(gap: Gap, compared: int) -> dict[str, Any]:
    return {**vars(gap), "share": gap.different / compared}


def _explanation(found: Explanation) -> dict[str, Any]:
    closest = found.closest
    return {
        "tensor": found.tensor,
        "node": found.node,
        "changed": found.base,
        "reproduced": found.other,
        "codes": found.codes,
        "different": found.different,
        "verdict": found.verdict,
        "shown": _tried(found.shown),
        "closest": None
        if closest is None
        else {**_tried([closest])[0], "share": found.share(closest)},
        "tried": found.changes,
        "remark": found.remark,
    }


def _tried(found: Iterable[Tried]) -> list[dict[str, Any]]:
    return [{"cause": str(t.cause), "change": t.text, "different": t.different} for t in found]
