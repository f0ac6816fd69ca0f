"""How sharp the minima of the trained models are, over their quantized weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

import deployq
from benchmarks.part import Facts, Table
from benchmarks.trained.budget import Budget
from benchmarks.trained.kept import Key, kept_models
from benchmarks.trained.measures import spread
from benchmarks.trained.networks import GRIDS
from deployq import pipeline
from deployq.landscape.facts import Sharpness
from deployq.progress import progress

RADIUS = 0.3
SAMPLES, PRODUCTS, DIRECTIONS = 128, 15, 5
FIGURES = ("eigenvalue", "adversarial", "random_mean")
COLUMNS = (
    "widths", "method", "seeds", "loss", "eigenvalue", f"rise at {RADIUS}, gradient",
    f"rise at {RADIUS}, random", "rise over qat",
)  # fmt: skip

Found = Mapping[Key, Sharpness]


def sharpness(work: Path, budget: Budget) -> Table:
    """A row for each width and method of the models in ``work``, on training images.

    Images are not augmented; lengths count standard deviations of each layer's weight.
    """
    found: dict[Key, Sharpness] = {}
    models = list(kept_models(work))
    with progress(len(models)) as advance:
        for key, folder in models:
            data = GRIDS[key.widths].spec.calibration()
            found[key] = deployq.measure_sharpness(
                pipeline.load_prepared(folder), data, radius=RADIUS, samples=SAMPLES,
                steps=PRODUCTS, directions=DIRECTIONS,
            )  # fmt: skip
            advance(f"{key}: eigenvalue {found[key].eigenvalue:.4g}")
    pairs = sorted({(key.widths, key.method) for key in found})
    facts = [_facts(widths, method, found) for widths, method in pairs]
    return Table("sharpness", COLUMNS, [_row(f) for f in facts], facts)


def _facts(widths: str, method: str, found: Found) -> Facts:
    own = {k.seed: s for k, s in found.items() if (k.widths, k.method) == (widths, method)}
    base = {k.seed: s for k, s in found.items() if (k.widths, k.method) == (widths, "qat")}
    over = [own[seed].adversarial - base[seed].adversarial for seed in own if seed in base]
    figures = {name: [getattr(s, name) for s in own.values()] for name in ("loss", *FIGURES)}
    settled = [s.settled for s in own.values()]
    return {"widths": widths, "method": method, **figures, "settled": settled, "rise_over": over}


def _row(facts: Facts) -> tuple[str, ...]:
    names = ("loss", *FIGURES, "rise_over")
    values = [np.array(facts[name], np.float64) for name in names]
    texts = [spread(v, 3) if v.size else "" for v in values]
    return (facts["widths"], facts["method"], str(len(facts["loss"])), *texts)
