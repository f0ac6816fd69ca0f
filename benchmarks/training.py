"""Training measured: what a step costs, and what SAQ and SQWA are worth at low widths.

    python -m benchmarks.training [--mode quick|full] [--parts step_cost,low_bits] [--work DIR]
    python -m benchmarks.training --choose [--mode quick]

step_cost        a step over a float one and over a plain one on the grid, eager and compiled
low_bits         ResNet-20 at W4A4, W3A3, W2A2: plain, SAM, SAQ, as many gradients for each
two_bit_weights  ternary weights: plain retraining, captures, averages, SQWA
sharpness        curvature and rises of the loss around every model that was trained
deployed         every model that was trained as a file, its integers, codes and accuracy

Training images are CIFAR-10's of the data folder; test images 0 to 1999 choose settings
(``--choose`` prints every try), 2000 to 7999 report. Quick mode fits two cores, full mode wants a
GPU. Exit code 1 where a goal is missed. Trained models stay in ``--work`` as prepared models, where
a later run finds them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from benchmarks.command import chosen_parts, work_folder
from benchmarks.part import Table, show
from benchmarks.trained.budget import BUDGETS, Budget
from benchmarks.trained.chosen import CHOSEN
from benchmarks.trained.deployed import deployed
from benchmarks.trained.low_bits import low_bits
from benchmarks.trained.sharpness import sharpness
from benchmarks.trained.step_cost import step_cost
from benchmarks.trained.tries import tries
from benchmarks.trained.two_bit_weights import WIDTHS, two_bit_weights

PARTS: Mapping[str, Callable[[Path, Budget], Table]] = {
    "step_cost": step_cost,
    "low_bits": low_bits,
    "two_bit_weights": two_bit_weights,
    "sharpness": sharpness,
    "deployed": deployed,
}


def main() -> int:
    """Print the chosen tables, and a line of JSON for each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mode", choices=list(BUDGETS), default="quick")
    parser.add_argument("--parts", default=",".join(PARTS), help="names with commas")
    parser.add_argument("--choose", action="store_true", help="print every try, and stop")
    parser.add_argument("--grids", default=",".join((*CHOSEN, WIDTHS)), help="of the tries")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--work", type=Path, help="keep trained models here")
    parser.add_argument("--json-out", type=Path, help="a file that gets the JSON as well")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    budget, missed = BUDGETS[given.mode], 0
    facts = {"mode": given.mode, "threads": given.threads, "torch": torch.__version__}
    if given.choose:
        return show(
            tries(budget, chosen_parts(given.grids, (*CHOSEN, WIDTHS))),
            "training.tries",
            given.json_out,
            **facts,
        )
    with work_folder(given.work) as work:
        for name in chosen_parts(given.parts, PARTS):
            missed += show(PARTS[name](work, budget), f"training.{name}", given.json_out, **facts)
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
