"""Sixty convolutional networks of timm, one a family: prepared, exported, held to law 12.

    python -m benchmarks.breadth [--stage prepare|export|parity] [--models a,b] [--target ort-cpu]

Random weights, BatchNorm statistics of one batch of real images. Each network runs in a process of
its own with a time limit. Ends with a table, the reasons of the failures, and a line of JSON.
Needs the extra ``bench`` (timm, Pillow).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import stages
from benchmarks.output import print_table, write_json
from benchmarks.stages import STAGES
from benchmarks.timm_cnns.families import FAMILIES, Family
from deployq.progress import progress

Outcome = dict[str, Any]


def main() -> int:
    """Print every network's outcome; 1 if fewer than ``--goal`` percent passed."""
    arguments = arguments_parser(__doc__, goal=95).parse_args()
    families = _chosen(arguments.models)
    outcomes = []
    with progress(len(families)) as advance:
        for family in families:
            advance(family.model)
            command = ["benchmarks.timm_cnns.one", family.model, "--size", str(family.size)]
            outcomes.append(run_one(family.model, command, arguments))
    return conclude("breadth", outcomes, arguments)


def arguments_parser(description: str | None, *, goal: float) -> argparse.ArgumentParser:
    """The flags of a benchmark over many networks."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--stage", choices=STAGES, default=STAGES[-1], help="the last one to run")
    parser.add_argument("--models", help="names with commas; default: all")
    parser.add_argument("--target", default="ort-cpu")
    parser.add_argument("--limit-seconds", type=float, default=300, help="for one network")
    parser.add_argument("--goal", type=float, default=goal, help="percent that must pass")
    parser.add_argument("--json-out", type=Path, help="a file that gets the line of JSON as well")
    return parser


def _chosen(names: str | None) -> Sequence[Family]:
    if names is None:
        return FAMILIES
    known = {family.model: family for family in FAMILIES}
    return [known.get(name, Family(name)) for name in names.split(",")]


def run_one(model: str, command: Sequence[str], arguments: argparse.Namespace) -> Outcome:
    """The outcome of one network in a process of its own; a crash or timeout is a reason.

    Args:
        model: its name.
        command: module and arguments that print the outcome as the last line.
        arguments: of :func:`arguments_parser`.
    """
    flags = ["--stage", arguments.stage, "--target", arguments.target]
    outcome = _outcome(model, [sys.executable, "-m", *command, *flags], arguments.limit_seconds)
    good = arguments.stage in outcome["reached"]
    print(f"{model}: {'good' if good else outcome['reason']}", file=sys.stderr, flush=True)
    return outcome


def _outcome(model: str, command: Sequence[str], limit_seconds: float) -> Outcome:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=limit_seconds, check=False,
            env={**os.environ, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "2")},
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return _ended(model, f"still running after {limit_seconds:.0f} s")
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [""]
        return _ended(model, f"process ended with {done.returncode}: {lines[-1][:200]}")
    outcome: Outcome = json.loads(done.stdout.strip().splitlines()[-1])
    return outcome


def _ended(model: str, reason: str) -> Outcome:
    return asdict(stages.Outcome(model, reason=reason))


def conclude(name: str, outcomes: Sequence[Outcome], arguments: argparse.Namespace) -> int:
    """Print the table, the reasons and the line of JSON; 1 if fewer passed than are wanted."""
    passed = sum(arguments.stage in outcome["reached"] for outcome in outcomes)
    _print(name, outcomes, arguments.stage)
    share = 100 * passed / len(outcomes)
    print(f"{passed} of {len(outcomes)} networks came through {arguments.stage}: {share:.1f} %")
    facts = {"benchmark": name, "target": arguments.target, "stage": arguments.stage,
             "passed": passed, "networks": outcomes}  # fmt: skip
    write_json(facts, arguments.json_out)
    return int(share < arguments.goal)


def _print(name: str, outcomes: Sequence[Outcome], stage: str) -> None:
    rows = [
        (o["model"], ", ".join(o["reached"]), str(o["floats"]), _share(o), f"{o['codes']:,}",
         f"{sum(o['seconds'].values()):.1f}", o["reason"])
        for o in outcomes
    ]  # fmt: skip
    columns = ("network", "reached", "float nodes", "integer %", "codes", "seconds", "reason")
    print_table(name, columns, rows)
    for reason, models in reasons(outcomes, stage).items():
        print(f"{len(models)}: {reason}\n   {', '.join(models)}")


def _share(outcome: Outcome) -> str:
    return "" if outcome["share"] is None else f"{100 * outcome['share']:.1f}"


def reasons(outcomes: Sequence[Outcome], stage: str) -> dict[str, list[str]]:
    """Reason to the networks that it stopped, the most frequent first."""
    found: dict[str, list[str]] = defaultdict(list)
    for outcome in outcomes:
        if stage not in outcome["reached"]:
            found[outcome["reason"]].append(outcome["model"])
    return dict(sorted(found.items(), key=lambda item: (-len(item[1]), item[0])))


if __name__ == "__main__":
    sys.exit(main())
