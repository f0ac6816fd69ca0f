"""What became of a bundle in one runtime."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from deployq.verifier.metrics.top1 import TOP1
from deployq.verifier.proportion import wilson
from deployq.verifier.report import Top1


class State(StrEnum):
    """How far a runtime came; accepted is what compiled or ran, and nothing less."""

    NOT_RUN = "not run"  # it is not installed, or too old
    REFUSED = "refused"
    FAILED = "failed"  # its process ended by itself, or by a signal
    TIMED_OUT = "timed out"
    COMPILED = "compiled"
    RAN = "ran"


@dataclass(frozen=True)
class Codes:
    """Output codes of a runtime beside others.

    Args:
        compared, different: codes.
        largest: difference, in codes.
    """

    compared: int
    different: int
    largest: int


@dataclass(frozen=True)
class Row:
    """One line of the matrix.

    Args:
        runtime, title: of the adapter.
        state: how far it came.
        version: of what is installed; empty where nothing is.
        reason: why it came no further, in the vendor's words where it has any.
        install: the command that installs it.
        integer_share: of the multiply-accumulates, in integer kernels; None where it does not tell.
        floats: nodes outside integer kernels.
        samples: that it ran.
        contract: profile of its arithmetic; empty where that is not known.
        simulated: its output codes beside the simulation of its file under that arithmetic; None
            where that is not known, or an operator runs in float.
        first: the first tensor whose codes the simulation does not give when it is fed what the
            runtime computed before it, with the first such code; empty where there is none.
        reference: its output codes beside the reference, under the target's own arithmetic.
        top1: agreement with the reference's best class.
        metric: its name; empty where nothing was measured.
        accuracy: the metric's value; None where nothing was measured.
        median_ms: of one sample.
        ratio: of that to ONNX Runtime's file, run in turn; None where it was not timed.
        facts: what else its tool says.
    """

    runtime: str
    title: str
    state: State
    version: str = ""
    reason: str = ""
    install: str = ""
    integer_share: float | None = None
    floats: tuple[str, ...] = ()
    samples: int = 0
    contract: str = ""
    simulated: Codes | None = None
    first: str = ""
    reference: Codes | None = None
    top1: Top1 | None = None
    metric: str = ""
    accuracy: float | None = None
    median_ms: float | None = None
    ratio: float | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def accepted(self) -> bool:
        """It compiled or ran."""
        return self.state in (State.COMPILED, State.RAN)

    def misses(self, *, named: bool) -> list[str]:
        """Broken promises, one sentence each.

        Args:
            named: the user asked for this runtime, which then has to be there and to accept.
        """
        if self.simulated is not None and self.simulated.different:
            codes = self.simulated
            where = f"; first {self.first}" if self.first else ""
            return [
                f"{self.runtime}: {codes.different} of {codes.compared} codes are not those of "
                f"{self.contract}{where}"
            ]
        broken = self.state in (State.FAILED, State.TIMED_OUT)
        return (
            [f"{self.runtime}: {self.state}, {self.reason}"]
            if broken or (named and not self.accepted)
            else []
        )

    @property
    def agreement(self) -> tuple[float, float] | None:
        """The 95 % interval of the agreement of classes; None where none was counted."""
        if self.top1 is None or not self.top1.decided:
            return None
        return wilson(self.top1.agree, self.top1.decided)

    @property
    def accuracy_interval(self) -> tuple[float, float] | None:
        """The 95 % interval of the metric, where that is a share of the samples."""
        if self.accuracy is None or self.metric != TOP1.name:
            return None
        return wilson(self.accuracy * self.samples, self.samples)

    def to_json(self) -> dict[str, Any]:
        """Plain data for ``--json``."""
        intervals = {
            "agreement_interval": self.agreement, "accuracy_interval": self.accuracy_interval,
        }  # fmt: skip
        return {**asdict(self), **intervals, "accepted": self.accepted}
