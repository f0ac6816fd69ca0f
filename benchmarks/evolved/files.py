"""The files that are compared as deployed: float, both peers', and deployq's before and behind."""

from __future__ import annotations

from pathlib import Path

from benchmarks.contenders import DEPLOYED as FILE
from benchmarks.contenders import FLOAT, PEERS, Built, build_all
from benchmarks.evolved.budget import Schedule
from benchmarks.evolved.grids import DEPLOYED, Grid
from benchmarks.evolved.searches import Work
from benchmarks.models.spec import ModelSpec
from deployq import pipeline
from deployq.errors import DeployqError
from deployq.graph.preparation import PreparedModel

PLAIN, OWN = "deployq", "deployq + Evol-Q"


def files(work: Work, spec: ModelSpec, schedule: Schedule) -> list[Built]:
    """At W8A8: the searched file, the one before the search, float, and the peers'."""
    own = []
    for name in (OWN, PLAIN):
        try:
            searched = name == OWN
            own.append(
                Built(name, bundle(work, spec, DEPLOYED, schedule, searched=searched) / FILE)
            )
        except DeployqError as error:
            own.append(Built(name, None, f"{error.where}: {error.rule} [{error.found}]"))
    return [*own, *build_all(spec, (FLOAT, *PEERS), work.folder / "peers")]


def bundle(work: Work, spec: ModelSpec, grid: Grid, schedule: Schedule, *, searched: bool) -> Path:
    """A bundle of the network, behind the search of seed 0 or before it."""
    name = f"{spec.name}.{grid.name.replace(' ', '-')}{'.0' if searched else ''}.bundle"
    path = work.folder / name
    if not path.exists():
        prepared = _prepared(work, spec, grid, schedule, searched=searched)
        pipeline.export(prepared, path, spec.calibration())
    return path


def _prepared(
    work: Work, spec: ModelSpec, grid: Grid, schedule: Schedule, *, searched: bool
) -> PreparedModel:
    return work.tuned(spec, grid, schedule, 0)[0] if searched else work.calibrated(spec, grid)
