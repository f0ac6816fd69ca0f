"""Parity by law 12 of every network and target, as a table.

    python -m benchmarks.parity [--models a,b] [--targets ort-cpu,int8-npu,int4-npu] [--work DIR]

Runs what ``deployq verify`` runs, on reporting samples, as many as the law asks for. Exit code 1
where a limit was missed or a network could not be exported.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from benchmarks.command import parser, work_folder
from benchmarks.contenders import bundle
from benchmarks.evidence_size import images_wanted
from benchmarks.models.registry import chosen
from benchmarks.models.spec import ModelSpec
from benchmarks.output import print_table, write_json
from deployq import pipeline
from deployq.data import Dataset
from deployq.errors import DeployqError
from deployq.progress import progress

COLUMNS = ("network", "target", "comparison", "images", "codes", "different", "limits")


def main() -> int:
    """Print a row for each comparison, and a line of JSON."""
    flags = parser(__doc__)
    flags.add_argument("--targets", default="ort-cpu,int8-npu,int4-npu")
    arguments = flags.parse_args()
    specs, targets = chosen(arguments.models), arguments.targets.split(",")
    results = []
    with work_folder(arguments.work) as work, progress(len(specs) * len(targets)) as advance:
        for spec in specs:
            for target in targets:
                advance(f"{spec.name}, {target}")
                results.append(measure(spec, target, work))
    print_table("parity", COLUMNS, [row for result in results for row in _rows(result)])
    for result in results:
        for miss in result["misses"]:
            print(f"{result['name']}, {result['target']}: {miss}")
    write_json({"benchmark": "parity", "results": results}, arguments.json_out)
    return int(any(result["misses"] for result in results))


def measure(spec: ModelSpec, target: str, work: Path) -> dict[str, Any]:
    """Every comparison of one bundle; a network that cannot be exported is one miss."""
    facts: dict[str, Any] = {"name": spec.name, "target": target, "comparisons": [], "misses": []}
    try:
        path = bundle(spec, target, work)
        data = spec.reporting()
        few = data.take(min(len(data), images_wanted(path)))
        report = pipeline.verify(path, Dataset(few.inputs), latency_runs=1)
    except DeployqError as error:
        return {**facts, "misses": [f"{error.where}: {error.rule} [{error.found}]"]}
    except Exception as error:  # a crash is a finding like any other
        return {**facts, "misses": [f"{type(error).__name__}: {error}"[:300]]}
    facts["comparisons"] = [
        {"name": p.name, "images": p.images, "compared": p.compared, "different": p.different,
         "misses": len(p.misses() + p.thin(report.limits))}
        for p in report.parities
    ]  # fmt: skip
    facts["integer_share"] = report.latency.integer_share
    return {**facts, "misses": report.misses()}


def _rows(result: dict[str, Any]) -> list[tuple[str, ...]]:
    head = (result["name"], result["target"])
    if not result["comparisons"]:
        return [(*head, "-", "-", "-", "-", "not verified")]
    return [
        (*head, c["name"], str(c["images"]), f"{c['compared']:,}", str(c["different"]),
         f"{c['misses']} missed" if c["misses"] else "met")
        for c in result["comparisons"]
    ]  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
