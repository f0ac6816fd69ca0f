"""Files of other tools: checked, simulated, and held against ONNX Runtime code by code."""

from __future__ import annotations

from pathlib import Path

from benchmarks.contracts.part import Facts, Table
from benchmarks.contracts.sample_inputs import sample_inputs
from benchmarks.data import DATA
from deployq import pipeline
from deployq.divergence import Divergence, diff
from deployq.errors import DeployqError
from deployq.opened_file import open_file
from deployq.progress import progress
from deployq_targets.checks import Severity

FOLDER = DATA / "onnx_thirdparty"
CHECKED = ("ort-cpu", "int8-npu", "tensorrt")
CONTRACT = "ort-cpu"
COLUMNS = ("file", *(f"check {target}" for target in CHECKED), "tensors", "codes", "different",
           "first difference: cause", "end to end")  # fmt: skip


def third_party(work: Path) -> Table:
    """A row for each file: errors and warnings of check, codes as deployed against the simulator.

    ``different`` counts layers fed the runtime's codes; those that it runs in float may differ next
    to ties.
    """
    paths = sorted(FOLDER.rglob("*.onnx"))
    facts = []
    with progress(len(paths)) as advance:
        for path in paths:
            advance(path.name)
            facts.append(_measure(path))
    rows = [
        (f["file"], *(f["check"][t] for t in CHECKED), *(str(f[k]) for k in
         ("tensors", "codes", "different")), f["first"] or f["reason"], str(f["free"]))
        for f in facts
    ]  # fmt: skip
    title = f"files of other tools: check, and ONNX Runtime = simulator under {CONTRACT}"
    return Table(title, COLUMNS, rows, facts)


def _measure(path: Path) -> Facts:
    facts: Facts = {
        "file": str(path.relative_to(FOLDER)),
        "check": {target: _checked(path, target) for target in CHECKED},
        "tensors": 0, "codes": 0, "different": 0, "free": 0, "first": "", "reason": "",
    }  # fmt: skip
    try:
        inputs = sample_inputs(path, open_file(path))
        found = diff(f"deployed:{path}", f"sim:{path}@{CONTRACT}", inputs)
    except DeployqError as error:
        return {**facts, "reason": f"{error.where}: {error.rule} [{error.found}]"[:300]}
    fed = [row.fed for row in found.rows if row.fed is not None]
    return {
        **facts, "tensors": len(found.rows), "codes": found.compared,
        "different": sum(gap.different for gap in fed),
        "free": sum(row.free.different for row in found.rows), "first": _first(found),
    }  # fmt: skip


def _checked(path: Path, target: str) -> str:
    """Errors and warnings, or why the file could not be checked."""
    try:
        found = [finding.severity for finding in pipeline.check(path, target)]
    except DeployqError as error:
        return f"refused: {error.rule}"
    if not found:
        return "0"
    return f"{found.count(Severity.ERROR)} errors, {found.count(Severity.WARNING)} warnings"


def _first(found: Divergence) -> str:
    if not found.explanations:
        return "none"
    first = found.explanations[0]
    return f"{first.tensor}: {first.verdict}"
