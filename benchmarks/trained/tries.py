"""Every try of every method on the choosing images, seed 0."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from benchmarks.part import Facts, Table
from benchmarks.trained.budget import Budget
from benchmarks.trained.chosen import OTHER_RATES, tries_of
from benchmarks.trained.images import Images
from benchmarks.trained.loops import Settings, train
from benchmarks.trained.measures import Worth, worth
from benchmarks.trained.networks import network
from benchmarks.trained.samples import choosing, training
from benchmarks.trained.two_bit_weights import WIDTHS, averaged
from deployq.progress import progress

COLUMNS = ("widths", "settings", "top-1 %", "test loss")
Try = tuple[str, str, Callable[[], Worth]]


def tries(budget: Budget, grids: Sequence[str]) -> Table:
    """A row for each; the fine-tuned model of SQWA counts for it."""
    images, test, facts = training(budget.images), choosing(), list[Facts]()
    runs = [each for widths in grids for each in _tries(widths, budget, images, test)]
    with progress(len(runs)) as advance:
        for widths, settings, run in runs:
            found = run()
            facts.append({"widths": widths, "settings": settings, **vars(found)})
            advance(f"{widths} {settings}: {found.top1:.2f} %, loss {found.loss:.3f}")
    rows = [(f["widths"], f["settings"], f"{f['top1']:.2f}", f"{f['loss']:.4f}") for f in facts]
    return Table("tries", COLUMNS, rows, facts)


def _tries(widths: str, budget: Budget, images: Images, test: Images) -> Iterator[Try]:
    def trained(settings: Settings) -> Worth:
        net, count = network(widths), budget.evaluations
        return worth(train(net, images, settings, evaluations=count, seed=0).module, test)

    def sqwa(rate: float) -> Worth:
        return averaged(images, test, budget, 0, rate)[0]["SQWA"]

    for settings in tries_of(widths):
        if widths != WIDTHS or settings.method == "qat":
            yield widths, _text(settings), partial(trained, settings)
    if widths == WIDTHS:
        yield from ((widths, f"sqwa, rate {rate}", partial(sqwa, rate)) for rate in OTHER_RATES)


def _text(settings: Settings) -> str:
    radius = f", radius {settings.radius}" if settings.radius else ""
    every = f", every {settings.every}, {settings.between}" if settings.every > 1 else ""
    return f"{settings.method}, rate {settings.rate}{radius}{every}"
