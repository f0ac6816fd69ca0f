"""Kill an export over an existing bundle at random moments; the bundle must stay whole.

    python -m benchmarks.killed_exports [--kills 50] [--seed 0]

An int8-npu bundle of the digits network stands; exports to int4-npu onto the same path are killed
(SIGKILL) at a moment drawn uniformly from the time that a whole export takes; one that ended before
its moment is drawn again. After each kill, the folder must be byte-identical to the old bundle, or,
if the kill came after the exchange, a whole new one.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from deployq.bundle import read_bundle


def main() -> int:
    """Print one line a kill, the counts, and a line of JSON; 1 if a bundle was ever broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    draw = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        subprocess.run([sys.executable, "examples/digits.py", folder], check=True)
        _export(folder, "int8-npu").wait()
        old = _digest(folder / "bundle")
        shutil.copytree(folder / "bundle", folder / "kept")
        start = time.perf_counter()
        _export(folder, "int4-npu").wait()
        whole = time.perf_counter() - start
        _restore(folder)
        counts = {"old": 0, "new": 0, "broken": 0}
        while sum(counts.values()) < arguments.kills:
            moment = draw.uniform(0, whole)
            outcome = _killed(folder, moment, old)
            if outcome is None:
                continue
            counts[outcome] += 1
            number = sum(counts.values())
            print(f"kill {number} after {moment:.2f} s of {whole:.2f} s: {outcome} bundle")
    print(json.dumps({"kills": arguments.kills, **counts}, sort_keys=True))
    return int(counts["broken"] > 0)


def _export(folder: Path, target: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "deployq", "export", folder / "digits.pt2"]
    options = ["--target", target, "--calib", folder / "calib.npz", "-o", folder / "bundle"]
    return subprocess.Popen(
        [*map(str, command), *map(str, options)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def _killed(folder: Path, moment: float, old: str) -> str | None:
    """What stands after a kill; None when there was nothing left to kill."""
    process = _export(folder, "int4-npu")
    time.sleep(moment)
    process.send_signal(signal.SIGKILL)
    if process.wait() != -signal.SIGKILL:
        _restore(folder)
        return None
    try:
        bundle = read_bundle(folder / "bundle")
    except Exception as error:  # any failure to read is the finding
        print(error)
        return "broken"
    if _digest(folder / "bundle") == old:
        return "old"
    outcome = "new" if bundle.facts["target"] == "int4-npu" else "broken"
    _restore(folder)
    return outcome


def _restore(folder: Path) -> None:
    shutil.rmtree(folder / "bundle")
    shutil.copytree(folder / "kept", folder / "bundle")


def _digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        digest.update(path.relative_to(folder).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


if __name__ == "__main__":
    sys.exit(main())
