"""One model, every profile: exported for each builtin target, checked and simulated."""

from __future__ import annotations

from pathlib import Path

from benchmarks.contenders import bundle
from benchmarks.contracts.swapped import BASE
from benchmarks.models.registry import chosen
from benchmarks.models.spec import ModelSpec
from benchmarks.part import Facts, Table
from deployq import pipeline
from deployq.errors import DeployqError
from deployq.opened_file import open_file
from deployq.progress import progress
from deployq.qgraph import IntegerGraph
from deployq_calibration.calibration_settings import CalibrationSettings
from deployq_targets import builtin_names, load_profile
from deployq_targets.checks import Severity

NETWORKS = "cifar10_resnet20,imagenet_mobilenet_v2_100"
COLUMNS = ("network", "profile", "exported", "check: errors", "top-1 %, simulated",
           f"rules that refuse the {BASE} file")  # fmt: skip
BATCH = 50


def every_profile(work: Path, models: str = NETWORKS) -> Table:
    """A row for each network and profile; scales are set by observers alone.

    Args:
        models: names with commas.
    """
    facts, specs = list[Facts](), chosen(models)
    with progress(len(specs) * len(builtin_names())) as advance:
        for spec in specs:
            for target in builtin_names():
                advance(f"{spec.name}, {target}")
                facts.append(_measure(spec, target, work))
    rows = [
        (f["network"], f["profile"], f["exported"] or f"refused: {f['reason']}",
         "-" if f["errors"] is None else str(f["errors"]),
         f["not_simulated"] if f["top1"] is None else f"{f['top1']:.2f}", ", ".join(f["refusing"]))
        for f in facts
    ]  # fmt: skip
    misses = [f"{f['network']}, {f['profile']}: its own export breaks a rule"
              for f in facts if f["errors"]]  # fmt: skip
    return Table("one model, every profile", COLUMNS, rows, facts, misses)


def _measure(spec: ModelSpec, target: str, work: Path) -> Facts:
    facts: Facts = {
        "network": spec.name, "profile": target, "exported": "", "reason": "", "errors": None,
        "top1": None, "not_simulated": "-",
        "refusing": refusing_rules(bundle(spec, BASE, work), target),
    }  # fmt: skip
    try:
        path = _exported(spec, target, work)
    except DeployqError as error:
        return {**facts, "reason": f"{error.where}: {error.rule} [{error.found}]"}
    facts["exported"] = "yes"
    facts["errors"] = len(refusing_rules(path, target))
    try:
        facts["top1"] = simulated_top1(open_file(path).graph, spec, target)
    except DeployqError as error:
        facts["not_simulated"] = f"{error.where}: {error.rule} [{error.found}]"
    return facts


def refusing_rules(path: Path, target: str) -> list[str]:
    """Ids of the rules that a file breaks, sorted."""
    found = pipeline.check(path, target)
    return sorted({finding.rule for finding in found if finding.severity is Severity.ERROR})


def simulated_top1(graph: IntegerGraph, spec: ModelSpec, target: str) -> float:
    """Percent of the reporting samples whose best simulated class is the label."""
    data, right = spec.reporting(), 0
    profile = load_profile(target)
    for batch in data.batches(BATCH):
        (scores,) = pipeline.simulate_graph(graph, batch.inputs, profile).outputs.values()
        right += int((scores.argmax(1) == batch.labels).sum())
    return 100 * right / len(data)


def _exported(spec: ModelSpec, target: str, work: Path) -> Path:
    """A bundle without corrections, which would take minutes for each profile."""
    path = work / spec.name / f"{target}.observers"
    if not path.exists():
        calibration = spec.calibration()
        prepared = pipeline.prepare(spec.load(), [spec.example()], target)
        pipeline.calibrate(prepared, calibration, CalibrationSettings(corrections=()))
        pipeline.export(prepared, path, calibration)
    return path
