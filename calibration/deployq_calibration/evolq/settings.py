"""How the search works; what the released code has is named as such."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from enum import StrEnum

from deployq.errors import InputError, choose_word
from deployq_calibration.evolq.fitness import Fitness


class Mutation(StrEnum):
    """What a child's scales differ by: ``relative``, of each scale, or ``absolute`` (released)."""

    RELATIVE = "relative"
    ABSOLUTE = "absolute"


class Order(StrEnum):
    """Walk over the blocks: ``reverse``, last to first (released), or ``forward``."""

    REVERSE = "reverse"
    FORWARD = "forward"


class Searched(StrEnum):
    """Layers whose weight scales are searched.

    ``attention``: of blocks with a product of two activations (released); ``mlp``: of the others;
    ``all``: both. ``auto``: attention where there is any, else all.
    """

    AUTO = "auto"
    ATTENTION = "attention"
    MLP = "mlp"
    ALL = "all"


class Codes(StrEnum):
    """What becomes of weight codes: ``reround`` makes them anew from the float weights (released),
    ``frozen`` keeps them and changes what they stand for: behind SAQ, SQWA and learned rounding.
    """

    REROUND = "reround"
    FROZEN = "frozen"


@dataclass(frozen=True)
class EvolveSettings:
    """Sizes of the search; the defaults are those of the released code, but for the mutation.

    Args:
        passes: over all blocks.
        free_passes: of a search of any scales that goes ahead where the target's scales lie on a
            lattice; the better of its snapped result and the scales in force is the start, so the
            search cannot end worse than either. None: as many as ``passes``; 0: none.
        children: that a visit of a block tries.
        population, tournament: sizes; drawn with replacement. 1 and 1 climb greedily.
        width: half of the interval that a mutation is drawn from, uniformly; of the scale, or
            absolute. The released code has 1e-3 at 3 and 4 bits and 1e-4 at 8, absolute.
        mutation, order, searched, codes: see there.
        genes: how many scales of a child change; None: all. On powers of two, None is 16 on
            average: a step there is a factor of two.
        activations: scales of the block's own activations are searched too.
        blocks: patterns of layer names; a block with such a layer is searched, with these layers.
        fitness: what outputs are compared by.
        tau: temperature of infoNCE.
        samples: of the calibration data, at most.
        batch: samples that are compared with each other.
        held_back: share of the batches that is held out: reported, and never searched on.
        patience: passes without a better fitness of these, after which the search stops; 0: never.
            Above 0 the search leaves the scales of its best pass by these, or those of its start.
        margin: standard errors, of the differences by batch, that a pass must be better by on the
            held-out batches to count as better; 0: any gain counts.
        racing: a child that is worse by so many standard errors after three batches is dropped
            there and then; None: every batch counts. It is a guess, and the only one.
        seed: of children, tournaments and the order of samples.
        device: that evaluates candidates; genes, draws, rounding of weights and fitness stay on
            the processor.
        together: children that are evaluated in one run, in memory for so many batches; decisions
            are those of one at a time. None: 1 on the processor, all of a visit on a device.
    """

    passes: int = 10
    children: int = 3
    population: int = 15
    tournament: int = 10
    width: float = 0.05
    mutation: Mutation | str = Mutation.RELATIVE
    order: Order | str = Order.REVERSE
    searched: Searched | str = Searched.AUTO
    codes: Codes | str = Codes.REROUND
    genes: int | None = None
    activations: bool = False
    blocks: tuple[str, ...] = ()
    fitness: Fitness | str = Fitness.INFONCE
    tau: float = 3.0
    samples: int = 1000
    batch: int = 100
    held_back: float = 0.2
    patience: int = 0
    margin: float = 0.0
    racing: float | None = None
    seed: int = 0
    free_passes: int | None = None
    device: str = "cpu"
    together: int | None = None

    def __post_init__(self) -> None:
        for name, kind in WORDS.items():
            word = choose_word(
                kind, getattr(self, name), where=name, rule="the search knows a few words here",
                next_step="leave it out for the default",
            )  # fmt: skip
            object.__setattr__(self, name, word)
        for name, least in LEAST.items():
            _check(name, getattr(self, name), least)
        for name in ("width", "tau"):
            if not 0 < getattr(self, name) < math.inf:
                raise _refusal(name, getattr(self, name), "> 0 and finite")
        if not 0 <= self.held_back < 1:
            raise _refusal("held_back", self.held_back, "0 to below 1")
        if self.racing is not None and not 0 <= self.racing < math.inf:
            raise _refusal("racing", self.racing, ">= 0 and finite")
        if not 0 <= self.seed < 1 << 64:
            raise _refusal("seed", self.seed, "0 to 2**64 - 1")
        if self.patience and not self.held_back:
            raise _refusal("patience", f"{self.patience} with held_back = 0", "held_back above 0")
        if not 0 <= self.margin < math.inf:
            raise _refusal("margin", self.margin, ">= 0 and finite")
        if self.margin and not self.patience:
            raise _refusal("margin", f"{self.margin:g} with patience = 0", "patience above 0")

    @property
    def side_by_side(self) -> int:
        """Children in one run."""
        alone = 1 if self.device == "cpu" else self.children
        return alone if self.together is None else self.together

    def to_json(self) -> dict[str, object]:
        """Plain data, for reports."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


WORDS = {
    "mutation": Mutation, "order": Order, "searched": Searched, "codes": Codes, "fitness": Fitness,
}  # fmt: skip
LEAST = {
    "passes": 1, "children": 1, "population": 1, "tournament": 1, "genes": 1, "batch": 2,
    "samples": 2, "patience": 0, "free_passes": 0, "together": 1,
}  # fmt: skip
"""The smallest number of each; a batch of one has no negatives."""


def _check(name: str, value: int | None, least: int) -> None:
    if value is not None and value < least:
        raise _refusal(name, value, f">= {least}")


def _refusal(name: str, value: object, allowed: str) -> InputError:
    return InputError(
        name,
        "the search has a size that makes sense",
        found=str(value),
        allowed=allowed,
        next_step="leave it out for the default",
    )
