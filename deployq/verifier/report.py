"""The report of a verification: facts first, verdicts drawn from them, exit code last."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from deployq.verifier.layer_facts import NO_FACTS, LayerFacts
from deployq.verifier.metrics.metric import Measured
from deployq.verifier.tally import LayerRow
from deployq_targets.latency_model import ModelledLatency

FLOAT_RATE = 5e-5
"""Share of a layer's codes, of up to 8 bits, that a run in float may change (law 12 b)."""
FLOAT_TOP1 = 0.999
"""Share of decided images on which a run in float must agree (law 12 c)."""
DECIDED_LSB = 2
"""An image whose two best codes differ by less is a tie (law 12 c)."""


class Judged(StrEnum):
    """Which limits a comparison is held to."""

    EXACT = "exact"  # integer kernels: no code may differ
    NEAR = "near"  # a run in float, layer by layer: law 12 b
    TOP1 = "top-1"  # a run partly in float, end to end: flips spread, only the classes count


@dataclass(frozen=True)
class Limits:
    """How much evidence a verdict needs (law 12)."""

    min_images: int = 64
    min_codes: int = 10_000_000
    min_distinct: int = 32

    @property
    def lowered(self) -> bool:
        """True when less is asked for than law 12 does."""
        law = Limits()
        own = (self.min_images, self.min_codes, self.min_distinct)
        return any(a < b for a, b in zip(own, vars(law).values(), strict=True))

    @property
    def text(self) -> str:
        """What is asked for, and in brackets law 12 where it asks for more."""
        law = vars(Limits())
        return ", ".join(
            f"{key} {value}" + (f" (usual: {law[key]})" if value < law[key] else "")
            for key, value in vars(self).items()
        )


@dataclass(frozen=True)
class Top1:
    """Agreement of the best class, for networks whose first output is (N, classes).

    Args:
        decided, agree: images without a tie at the top, and agreement on them.
        ties: images with a tie.
        explained: decided images without agreement whose class the reference gives as well, once
            it is fed the codes that the run computed before the last layer. What flipped them
            spread from flips next to ties, which each layer is held to. Counted for runs in float.
    """

    decided: int
    agree: int
    ties: int
    explained: int = 0

    @property
    def sentence(self) -> str:
        """Agreement in words."""
        more = f", {self.explained} more are explained by substitution" if self.explained else ""
        return f"agrees on {self.agree} of {self.decided} decided images{more}"


@dataclass(frozen=True)
class Parity:
    """One comparison of codes.

    Args:
        name: what is compared with what.
        contract: arithmetic that both sides follow.
        judged: the limits that apply.
        whole: the whole network is compared, not the part of it that runs in one way.
        layers: one row a tensor, and one an output.
        images: samples compared.
        top1: None where the network is no classifier or inputs are forced.
    """

    name: str
    contract: str
    judged: Judged
    whole: bool
    layers: tuple[LayerRow, ...]
    images: int
    top1: Top1 | None

    @property
    def compared(self) -> int:
        return sum(row.compared for row in self.layers)

    @property
    def different(self) -> int:
        return sum(row.different for row in self.layers)

    def broken(self, row: LayerRow) -> bool:
        """Whether a row's codes differ by more than this comparison allows."""
        if self.judged is Judged.EXACT:
            return row.different > 0
        return self.judged is Judged.NEAR and not _near(row)

    def misses(self) -> list[str]:
        """Broken limits, one sentence each."""
        found = []
        for row in filter(self.broken, self.layers):
            if self.judged is Judged.EXACT:
                found.append(f"{row.tensor}: {row.different} of {row.compared} codes differ, 0 may")
            else:
                found.append(
                    f"{row.tensor}: {row.different} of {row.compared} codes differ by up to "
                    f"{row.max_lsb} LSB, {row.far_from_tie} of them far from a tie; "
                    f"{allowed(row)} by 1 LSB next to a tie may"
                )
        wanted = 1.0 if self.judged is Judged.EXACT else FLOAT_TOP1
        top1 = self.top1
        if top1 is not None and top1.agree + top1.explained < wanted * top1.decided:
            found.append(f"top-1 {top1.sentence}")
        return [f"{self.name}: {text}" for text in found]

    def thin(self, limits: Limits) -> list[str]:
        """Why the evidence is too thin, one sentence each."""
        found = []
        if self.whole and self.images < limits.min_images:
            found.append(f"{self.images} images compared, {limits.min_images} wanted")
        if self.whole and self.compared < limits.min_codes:
            found.append(self._few_codes(limits.min_codes))
        if self.top1 is not None and not self.top1.decided:
            found.append(f"every one of {self.top1.ties} images is a tie at the top")
        for row in self.layers:
            wanted = min(row.wanted_distinct, limits.min_distinct)
            if row.distinct < wanted:
                found.append(f"{row.tensor} took {row.distinct} distinct codes, {wanted} wanted")
        return [f"{self.name}: {text}" for text in found]

    def _few_codes(self, wanted: int) -> str:
        """How many were compared, and how many images would give as many as are wanted."""
        text = f"{self.compared} codes compared, {wanted} wanted"
        if not self.compared or not self.images:
            return text
        return f"{text} ({-(-wanted * self.images // self.compared)} images make as many)"


def _near(row: LayerRow) -> bool:
    """Law 12 b for one layer."""
    return row.different <= allowed(row) and row.max_lsb <= 1 and not row.far_from_tie


def allowed(row: LayerRow) -> int:
    """Codes of a layer that a run in float may change.

    :data:`FLOAT_RATE` of them, more where codes are wide, with three standard deviations and one
    for chance, which in a layer of few codes is more than the rate; and every exact tie.
    """
    expected = FLOAT_RATE * row.noise * row.compared
    return int(expected + 3 * math.sqrt(expected)) + 1 + row.exact_ties


@dataclass(frozen=True)
class Latency:
    """Time of one sample, measured beside the integer share (law 3).

    Args:
        runtime: its name and version.
        threads: of one operator.
        median_ms, low_ms, high_ms: of the runs; low and high are the 5 and 95 % quantiles.
        float_median_ms: of the un-optimised canonical file, interleaved in the same run.
        integer_share: part of the multiply-accumulates that ran in integer kernels.
        float_nodes: operators that did not run in integer kernels, linear or not.
        samples_ms, float_samples_ms: every run of either file, in the order they ran.
    """

    runtime: str
    threads: int
    runs: int
    median_ms: float
    low_ms: float
    high_ms: float
    float_median_ms: float
    integer_share: float
    float_nodes: tuple[str, ...]
    samples_ms: tuple[float, ...] = ()
    float_samples_ms: tuple[float, ...] = ()


MOVED = (
    "quantizers off is the network as corrections or training left it, not the float network that "
    "it was prepared from: to know what quantization costs, measure that one too"
)


@dataclass(frozen=True)
class Report:
    """Everything ``verify`` found.

    Args:
        target: name of the profile.
        conformance: where the bundle's files contradict each other; empty is good.
        parities: comparisons of codes.
        accuracy: the metric's value by evaluator; empty where nothing was measured.
        images: samples in the data.
        latency: of the runtime's file.
        floats: nodes that do not run in integers on the target, by the plan.
        limits: how much evidence was asked for.
        metric: what ``accuracy`` is, and further figures.
        layers: SQNR and ranges of each layer, over some of the samples; no limit speaks of them.
        modelled: latency on the target by its profile's figures; None where it has too few.
        moved: corrections or training have written into the network: with quantizers off it is no
            longer the float network that it was prepared from.
    """

    target: str
    conformance: tuple[str, ...]
    parities: tuple[Parity, ...]
    accuracy: Mapping[str, float]
    images: int
    latency: Latency
    floats: tuple[str, ...]
    limits: Limits
    metric: Measured = field(default_factory=Measured)
    layers: LayerFacts = NO_FACTS
    modelled: ModelledLatency | None = None
    moved: bool = False

    def misses(self) -> list[str]:
        """Every limit that was missed; empty means good."""
        found = [f"conformance: {text}" for text in self.conformance]
        found += [text for parity in self.parities for text in parity.misses()]
        return found + [text for parity in self.parities for text in parity.thin(self.limits)]

    @property
    def verdict(self) -> str:
        """The misses in a few words."""
        if self.misses():
            return "limits missed"
        found = "good: what was trained is what the file computes"
        if self.limits.lowered:
            found = f"no difference found, with less evidence than usual: {self.limits.text}"
        if self.latency.float_nodes and not self.latency.integer_share:
            found += "; the runtime has no integer kernels for its layers"
        return found

    @property
    def exit_code(self) -> int:
        """0 good, 1 a limit was missed (law 10)."""
        return int(bool(self.misses()))

    def __str__(self) -> str:
        """A line a comparison, one a miss, and the verdict."""
        compared = [f"{p.name}: {p.different} of {p.compared} codes differ" for p in self.parities]
        missed = [f"limit missed {text}" for text in self.misses()]
        return "\n".join([*compared, *missed, f"{self.target}: {self.verdict}"])

    def to_json(self) -> dict[str, Any]:
        """Plain data for ``--json``."""
        facts = asdict(self)
        for parity, entry in zip(self.parities, facts["parities"], strict=True):
            entry |= {"compared": parity.compared, "different": parity.different}
        lowered = {"limits_lowered": self.limits.lowered}
        metric = {key: facts["metric"][key] for key in ("name", "higher_is_better", "details")}
        facts |= {"accuracy": finite(facts["accuracy"]), "metric": finite(metric)}
        facts["modelled"] = None if self.modelled is None else modelled_facts(self.modelled)
        return {**facts, **lowered, "misses": self.misses(), "exit_code": self.exit_code}


def modelled_facts(modelled: ModelledLatency) -> dict[str, Any]:
    """Plain data, with what follows from it."""
    facts = asdict(modelled)
    for layer, entry in zip(modelled.layers, facts["layers"], strict=True):
        entry["bound"] = layer.bound
    totals = {"cycles": modelled.cycles, "milliseconds": modelled.milliseconds}
    return {**facts, **totals, "label": modelled.label}


def finite(facts: Any) -> Any:
    """Plain data with None for an infinite figure, which JSON has no number for."""
    if isinstance(facts, dict):
        return {key: finite(item) for key, item in facts.items()}
    return None if isinstance(facts, float) and not math.isfinite(facts) else facts
