"""Files of other tools: checked, simulated, and held against ONNX Runtime code by code."""

from __future__ import annotations

from pathlib import Path

from benchmarks.contracts.sample_inputs import sample_inputs
from benchmarks.data import DATA
from benchmarks.part import Facts, Table
from deployq import pipeline
from deployq.arithmetic.contract import QDQ
from deployq.divergence import Divergence, diff
from deployq.divergence.sides import Simulated
from deployq.errors import DeployqError
from deployq.opened_file import open_file
from deployq.progress import progress
from deployq_targets.checks import Severity

FOLDER = DATA / "onnx_thirdparty"
CHECKED = ("ort-cpu", "int8-npu", "tensorrt")
CONTRACT = "ort-cpu"
COLUMNS = ("file", *(f"check {target}" for target in CHECKED), "run", "tensors", "hidden", "codes",
           "different", "LSB", "first difference")  # fmt: skip


def third_party(work: Path) -> Table:
    """Two rows for each file: as ONNX Runtime deploys it beside the simulator under its contract,
    and un-optimised beside real arithmetic; layers are fed the runtime's codes.

    ``hidden`` tensors cannot be read without changing kernels. What a run computes in float may
    differ next to ties.
    """
    paths = sorted(FOLDER.rglob("*.onnx"))
    facts = []
    with progress(len(paths)) as advance:
        for path in paths:
            advance(path.name)
            facts.append(_measure(path))
    title = f"files of other tools: check, and ONNX Runtime = simulator ({CONTRACT}, {QDQ.name})"
    return Table(title, COLUMNS, [row for f in facts for row in _rows(f)], facts)


def _measure(path: Path) -> Facts:
    facts: Facts = {
        "file": str(path.relative_to(FOLDER)),
        "check": {target: _checked(path, target) for target in CHECKED},
        "runs": [], "reason": "",
    }  # fmt: skip
    try:
        opened = open_file(path)
        inputs = sample_inputs(path, opened)
        facts["runs"] = [
            _compared("deployed", diff(f"deployed:{path}", f"sim:{path}@{CONTRACT}", inputs)),
            _compared("un-optimised", diff(f"file:{path}", Simulated("sim", opened, QDQ), inputs)),
        ]
    except DeployqError as error:
        facts["reason"] = f"{error.rule} [{error.found}]"
    return facts


def _checked(path: Path, target: str) -> str:
    """Errors and warnings, or why the file could not be checked."""
    try:
        found = [finding.severity for finding in pipeline.check(path, target)]
    except DeployqError as error:
        return f"refused: {error.rule}"
    return f"{found.count(Severity.ERROR)} errors, {found.count(Severity.WARNING)} warnings"


def _compared(run: str, found: Divergence) -> Facts:
    """Counts over the layers, each fed the runtime's codes where that leaves it its kernel."""
    gaps = [row.fed or row.free for row in found.rows]
    first = next(iter(found.explanations), None)
    return {
        "run": run, "tensors": len(found.rows), "hidden": len(found.apart),
        "codes": found.compared, "different": sum(gap.different for gap in gaps),
        "max_lsb": max(gap.max_lsb for gap in gaps),
        "first": "none" if first is None else f"{first.tensor}: {first.verdict}",
    }  # fmt: skip


def _rows(facts: Facts) -> list[tuple[str, ...]]:
    head = (facts["file"], *(facts["check"][target] for target in CHECKED))
    if facts["reason"]:
        return [(*head, "-", "0", "-", "0", "-", "-", f"not compared: {facts['reason']}")]
    keys = ("run", "tensors", "hidden", "codes", "different", "max_lsb", "first")
    return [
        (*(head if run is facts["runs"][0] else ("",) * len(head)), *(str(run[k]) for k in keys))
        for run in facts["runs"]
    ]
