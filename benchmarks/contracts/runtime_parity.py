"""Every network of the data folder: ONNX Runtime's integer kernels beside the simulator."""

from __future__ import annotations

from pathlib import Path

from benchmarks.contenders import bundle
from benchmarks.evidence_size import images_wanted
from benchmarks.models.registry import MODELS
from benchmarks.models.spec import ModelSpec
from benchmarks.part import Facts, Table
from deployq.progress import progress
from deployq.verifier.evidence import Evidence
from deployq.verifier.parity import runtime_against_simulator
from deployq_exporters.runtimes.placement import float_operators

TARGET = "ort-cpu"
COLUMNS = ("network", "comparison", "in float", "images", "layers", "codes", "different")


def onnxruntime_parity(work: Path) -> Table:
    """A row for each network and comparison: layer by layer, and where all is integer end to end.

    Layers that the runtime left in float are counted, not compared.
    """
    facts: list[Facts] = []
    with progress(None) as advance:
        for spec in MODELS.values():
            advance(spec.name)
            facts += _measure(spec, work)
    rows = [
        (f["network"], f["comparison"], str(f["in_float"]), str(f["images"]), str(f["layers"]),
         f"{f['codes']:,}", str(f["different"]))
        for f in facts
    ]  # fmt: skip
    misses = [f"{f['network']}, {f['comparison']}: {f['different']} of {f['codes']} codes differ"
              for f in facts if f["different"] or not f["codes"]]  # fmt: skip
    title = f"ONNX Runtime's integer kernels = simulator under {TARGET}"
    return Table(title, COLUMNS, rows, facts, misses)


def _measure(spec: ModelSpec, work: Path) -> list[Facts]:
    path = bundle(spec, TARGET, work)
    evidence, data = Evidence(path), spec.reporting()
    session = evidence.runtime_session(probes=True)
    few = data.take(min(len(data), images_wanted(path)))
    batches = few.batches(evidence.batch)
    in_float = float_operators(evidence.runtime_graph, session.placement)
    return [
        {"network": spec.name, "comparison": parity.name, "in_float": len(in_float),
         "images": parity.images, "layers": len(parity.layers), "codes": parity.compared,
         "different": parity.different}
        for parity in runtime_against_simulator(evidence, session, batches, lambda stage: None)
    ]  # fmt: skip
