"""Evol-Q measured: what a search is worth, what it costs, and what its files give.

    python -m benchmarks.evolq [--mode trial|quick|full] [--parts accuracy,powers] [--work DIR]
                               [--device cpu|cuda]

accuracy  W8A8, W4A8, W3A8 and W4A8, W3A8 behind learned rounding (codes frozen), before and after
powers    searched power-of-two scales against float scales that nobody searched
peers     the same networks at W8A8 by NNCF's transformer preset and by quantize_static
speed     a pass against the straightforward search, to the same scales
latency   as deployed on ONNX Runtime, beside the share of multiply-accumulates in integers
parity    every searched network as a file: law 12

Networks are vision transformers of the data folder. A search sees images that calibrate and images
that may choose settings; the reporting ones take no part in it. Divergence is
``KL(float softmax || quantized)`` in nats; intervals are 95 %, paired bootstrap over images. Each
search has a stated budget of processor time, and a longer one is a miss. Quick mode fits two cores;
full mode, the released schedule, wants a GPU and searches on one where it is there; trial mode
proves that every part works, its misses say nothing. Exit code 1 where a goal is missed, 2 where
the device is none. What was searched stays in ``--work``, where a later run finds it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.command import chosen_parts, work_folder
from benchmarks.evolved.accuracy import accuracy, powers
from benchmarks.evolved.budget import BUDGETS, Budget
from benchmarks.evolved.deployed import latency, parity, peers
from benchmarks.evolved.speed import speed
from benchmarks.part import Table, show
from deployq.arithmetic.kernels.devices import exact_device
from deployq.errors import InputError

PARTS: Mapping[str, Callable[[Path, Budget], Table]] = {
    "accuracy": accuracy,
    "powers": powers,
    "peers": peers,
    "speed": speed,
    "latency": latency,
    "parity": parity,
}


def main() -> int:
    """Print the chosen tables, and a line of JSON for each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mode", choices=list(BUDGETS), default="quick")
    parser.add_argument("--parts", default=",".join(PARTS), help="names with commas")
    parser.add_argument("--models", help="names with commas; default: all of the mode")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", help="of the searches; default: in full mode a GPU, if any")
    parser.add_argument("--work", type=Path, help="keep searched models here")
    parser.add_argument("--json-out", type=Path, help="a file that gets the JSON as well")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    budget, missed = BUDGETS[given.mode], 0
    if given.models:
        names = chosen_parts(given.models, budget.schedules)
        budget = replace(budget, schedules={name: budget.schedules[name] for name in names})
    try:
        budget = replace(budget, device=str(exact_device(_device(given.mode, given.device))))
    except InputError as error:
        parser.error(str(error))
    facts = {
        "mode": given.mode,
        "device": budget.device,
        "threads": given.threads,
        "torch": torch.__version__,
    }
    with work_folder(given.work) as work:
        for name in chosen_parts(given.parts, PARTS):
            missed += show(PARTS[name](work, budget), f"evolq.{name}", given.json_out, **facts)
    return int(missed > 0)


def _device(mode: str, wish: str | None) -> str:
    there = mode == "full" and torch.cuda.is_available()
    return wish or ("cuda" if there else "cpu")


if __name__ == "__main__":
    sys.exit(main())
