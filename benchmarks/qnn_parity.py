"""Qualcomm HTP's emulator against the simulator, code by code: one operator at a time.

    python -m benchmarks.qnn_parity [--every 8]

Sweeps of every operator over unsigned codes, full of ties; ``--every`` takes each nth of them. An
operator that the profile ``qnn-htp`` leaves to the vendor shows 0 codes. Exit code 1 where an
operator with a stated arithmetic differs, or nothing was compared. Needs onnxruntime-qnn.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict, replace
from pathlib import Path

from benchmarks.output import print_table, write_json
from benchmarks.qnn_runs import Tally, compare, merged
from benchmarks.sweeps.qdq import qdq_file
from benchmarks.sweeps.unsigned import unsigned_sweeps
from deployq.progress import progress
from deployq_targets import load_profile

TARGET = "qnn-htp"
COLUMNS = ("operator", "sweeps", "codes", "distinct", "different", "LSB")


def main() -> int:
    """Print a row for each operator, and a line of JSON."""
    flags = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    flags.add_argument("--every", type=int, default=8)
    flags.add_argument("--json-out", type=Path, help="a file that gets the line of JSON as well")
    arguments = flags.parse_args()
    tallies = measure(arguments.every)
    rows = [
        (t.operator, str(t.layers), f"{t.codes:,}", str(t.distinct), str(t.different),
         str(t.largest) if t.codes else "vendor")
        for t in tallies
    ]  # fmt: skip
    print_table(f"Qualcomm HTP's emulator and the simulator under {TARGET}", COLUMNS, rows)
    facts = {"benchmark": "qnn_parity", "operators": [asdict(t) for t in tallies]}
    write_json(facts, arguments.json_out)
    return int(any(t.different for t in tallies) or not sum(t.codes for t in tallies))


def measure(every: int) -> list[Tally]:
    """The tallies of the sweeps, by operator."""
    contract, sweeps = load_profile(TARGET).contract(), list(unsigned_sweeps())[::every]
    found: list[Tally] = []
    with progress(len(sweeps)) as advance:
        for name, sweep in sweeps:
            advance(name)
            (output,) = sweep.graph.outputs
            tally = compare(qdq_file(sweep), contract, sweep.inputs)[output]
            found.append(replace(tally, operator=name))
    return merged(found)


if __name__ == "__main__":
    sys.exit(main())
