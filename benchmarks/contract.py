"""The integer contract, shown: every table of check, simulate and parity.

    python -m benchmarks.contract [--parts rules,many_contracts] [--models a,b] [--work DIR]

rules           what ``deployq check`` holds a file to
onnxruntime     ONNX Runtime's integer kernels beside the simulator, every network
litert          LiteRT's kernel sets beside the simulator, as ``benchmarks.litert_parity``
qnn             Qualcomm HTP's emulator beside the simulator, as ``benchmarks.qnn_parity``
many_contracts  one file, only the requantization swapped: codes and top-1
third_party     files of other tools: findings, and codes beside ONNX Runtime
every_profile   one model exported for each builtin profile: accepted or refused, top-1 simulated
speed           the simulator's throughput over ONNX Runtime's, as ``benchmarks.simulator_speed``

Exit code 1 where codes differ that should be equal, or a goal is missed. Needs the extras
``bench``, ``litert`` and ``qnn``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks.command import chosen_parts, work_folder
from benchmarks.contracts.every_profile import every_profile
from benchmarks.contracts.many_contracts import many_contracts
from benchmarks.contracts.rules import rules
from benchmarks.contracts.runtime_parity import onnxruntime_parity
from benchmarks.contracts.third_party import third_party
from benchmarks.litert_parity import litert_parity
from benchmarks.part import Part, Table, show
from benchmarks.qnn_parity import qnn_parity
from benchmarks.simulator_speed import simulator_speed

PARTS: Mapping[str, Part] = {
    "rules": rules,
    "onnxruntime": onnxruntime_parity,
    "litert": litert_parity,
    "qnn": qnn_parity,
    "third_party": third_party,
    "many_contracts": many_contracts,
    "every_profile": every_profile,
    "speed": simulator_speed,
}


OF_MODELS: Mapping[str, Callable[[Path, str], Table]] = {
    "litert": litert_parity,
    "qnn": qnn_parity,
    "many_contracts": many_contracts,
    "every_profile": every_profile,
    "speed": simulator_speed,
}
"""Parts that networks can be chosen for."""


def main() -> int:
    """Print the chosen tables, and a line of JSON for each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", default=",".join(PARTS), help="names with commas")
    parser.add_argument("--models", help="names with commas, for the parts that have a choice")
    parser.add_argument("--work", type=Path, help="keep built files here, and use what is there")
    parser.add_argument("--json-out", type=Path, help="a file that gets the JSON as well")
    arguments = parser.parse_args()
    missed = 0
    with work_folder(arguments.work) as work:
        for name in chosen_parts(arguments.parts, PARTS):
            some = OF_MODELS.get(name) if arguments.models else None
            table = some(work, arguments.models) if some else PARTS[name](work)
            missed += show(table, f"contract.{name}", arguments.json_out)
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
