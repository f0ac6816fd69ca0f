"""Searched networks as files: beside the peers', how fast they run, and whether they are exact."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks import runtime
from benchmarks.contenders import Built, facts_of
from benchmarks.evidence_size import images_wanted
from benchmarks.evolved.budget import Budget
from benchmarks.evolved.files import OWN, PLAIN, bundle, files
from benchmarks.evolved.grids import DEPLOYED
from benchmarks.evolved.searches import Work
from benchmarks.evolved.worth import Gain, means, rows_of
from benchmarks.latency import measure
from benchmarks.models.spec import ModelSpec
from benchmarks.part import Facts, Table
from benchmarks.statistics import Interval
from deployq import pipeline
from deployq.data import Dataset
from deployq.errors import DeployqError
from deployq.progress import progress

SHARE = 0.99
"""Of multiply-accumulates in integers, at least."""


def peers(folder: Path, budget: Budget) -> Table:
    """Every file of a network at W8A8 in ONNX Runtime, on the reporting images."""
    columns = ("model", "file", "top-1 %", "KL", "KL, less deployq + Evol-Q",
               "top-1, less the same", "integer share %", "note")  # fmt: skip
    work, rows, facts, misses = Work(folder, budget), list[tuple[str, ...]](), list[Facts](), []
    with progress(len(work.vision())) as advance:
        for spec, schedule in work.vision():
            advance(spec.name)
            for entry in _peers(work, spec, files(work, spec, schedule)):
                facts.append(entry["facts"])
                rows.append(entry["cells"])
                share = entry["facts"].get("integer_share", 1.0)
                if entry["facts"]["contender"] in (OWN, PLAIN) and share < SHARE:
                    misses.append(f"{spec.name}: {100 * share:.1f} % in integers")
                if entry["facts"]["contender"] in (OWN, PLAIN) and entry["facts"]["reason"]:
                    misses.append(f"{spec.name}: {entry['facts']['reason']}")
    return Table("as deployed, W8A8", columns, rows, facts, misses)


def _peers(work: Work, spec: ModelSpec, built: list[Built]) -> list[dict[str, Any]]:
    data, labels = work.reporting(spec)
    sample = next(iter(data.take(1).inputs.values()))
    scores = {b.contender: runtime.outputs(b.path, data)[0] for b in built if b.path is not None}
    found = {name: rows_of(s, work.floats(spec), labels) for name, s in scores.items()}
    entries = []
    for one in built:
        facts: Facts = {"model": spec.name, **facts_of(one)}
        if one.path is None:
            cells = (spec.name, one.contender, *["-"] * 5, one.reason)
        else:
            rows = found[one.contender]
            facts["integer_share"] = runtime.integer_share(one.path, sample)
            facts |= {"divergence": rows[:, 0].mean(), "top1": rows[:, 1].mean()}
            less = ("", "")
            if OWN in found and one.contender != OWN:
                gain = Gain.of(rows, found[OWN])
                facts["gain"], less = gain.facts(), gain.texts()
            divergence, top1 = means(rows)
            share = f"{100 * facts['integer_share']:.1f}"
            cells = (spec.name, one.contender, top1, divergence, *less, share, one.note)
        entries.append({"facts": facts, "cells": cells})
    return entries


def latency(folder: Path, budget: Budget) -> Table:
    """One image at a time in ONNX Runtime, two threads, rounds interleaved."""
    columns = ("model", "file", "median ms", "integer share %", "deployq + Evol-Q / file", "reason")
    work, rows, facts, misses = Work(folder, budget), list[tuple[str, ...]](), list[Facts](), []
    with progress(len(work.vision())) as advance:
        for spec, schedule in work.vision():
            advance(spec.name)
            result = measure(spec, files(work, spec, schedule), 1, budget.rounds[1], 2)
            facts.append(result)
            rows += [_latency_cells(spec, entry) for entry in result["contenders"]]
            own = result["contenders"][0]
            if own.get("integer_share", 0.0) < SHARE:
                misses.append(f"{spec.name}: {100 * own.get('integer_share', 0):.1f} % in integers")
    return Table("latency as deployed, W8A8", columns, rows, facts, misses)


def _latency_cells(spec: ModelSpec, entry: dict[str, Any]) -> tuple[str, ...]:
    if "median_ms" not in entry:
        return (spec.name, entry["contender"], "-", "-", "", entry["reason"])
    ratio = Interval(**entry["ratio"]).text(3) if "ratio" in entry else ""
    share = f"{100 * entry['integer_share']:.1f}"
    return (spec.name, entry["contender"], f"{entry['median_ms']:.3f}", share, ratio, "")


def parity(folder: Path, budget: Budget) -> Table:
    """Every searched network of seed 0, exported and verified: law 12."""
    columns = ("model", "widths", "comparison", "images", "codes", "different", "result")
    work, rows, facts, misses = Work(folder, budget), list[tuple[str, ...]](), list[Facts](), []
    cases = [(s, p, g) for s, p in work.networks() for g in (DEPLOYED, *p.grids)]
    with progress(len(cases)) as advance:
        for spec, schedule, grid in cases:
            advance(f"{spec.name}, {grid.name}")
            head = (spec.name, grid.name)
            try:
                path = bundle(work, spec, grid, schedule, searched=True)
                few = spec.reporting()
                few = few.take(min(len(few), images_wanted(path)))
                report = pipeline.verify(path, Dataset(few.inputs), latency_runs=1)
            except DeployqError as error:
                reason = f"{error.where}: {error.rule} [{error.found}]"
                rows.append((*head, "-", "-", "-", "-", reason))
                misses.append(f"{spec.name}, {grid.name}: {reason}")
                continue
            missed = report.misses()
            misses += [f"{spec.name}, {grid.name}: {miss}" for miss in missed]
            for p in report.parities:
                bad = len(p.misses() + p.thin(report.limits))
                rows.append((*head, p.name, str(p.images), f"{p.compared:,}", str(p.different),
                             f"{bad} missed" if bad else "met"))  # fmt: skip
            facts.append({
                "model": spec.name, "widths": grid.name, "misses": missed,
                "integer_share": report.latency.integer_share,
                "comparisons": [{"name": p.name, "compared": p.compared, "different": p.different}
                                for p in report.parities],
            })  # fmt: skip
    return Table("parity of searched networks", columns, rows, facts, misses)
