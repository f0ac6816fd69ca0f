"""TensorRT, or TensorRT for RTX, as an adapter: builds engines, and runs them on a CUDA device."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np
import onnx

from deployq.errors import InputError
from deployq_exporters.adapters.adapter import Adapter, Answer, Array, Compiled, Load, Source
from deployq_exporters.adapters.onnx_files import LoadedFile, read_file, read_model, writer
from deployq_exporters.dialects.tensorrt import TENSORRT
from deployq_exporters.runtimes.tensorrt import PACKAGES, build_engine, find_package, installed
from deployq_exporters.runtimes.tensorrt_layers import coverage
from deployq_exporters.runtimes.tensorrt_session import Session, has_device

DISTRIBUTIONS = {"tensorrt": "tensorrt", "tensorrt_rtx": "tensorrt-rtx-cu13"}
LEAST = {"tensorrt": "10", "tensorrt_rtx": "1.7"}
MODULE = next((name for name in PACKAGES if installed(name)), "tensorrt_rtx")
"""Which of the two is here; where none is, the one that installs without a device."""


def _load(source: Source, content: bytes, load: Load) -> LoadedFile:
    """On a device the bundle's plan, or one built now; without one, what the builder says."""
    model = onnx.load_from_string(content)
    graph = read_model(source, model)
    if not has_device():
        engine = build_engine(model)
        facts = {
            "built_by": engine.package, "plan_bytes": len(engine.plan),
            "warnings": list(engine.warnings), "not_run": "no CUDA device that torch can use",
        }  # fmt: skip
        return LoadedFile(graph, _refuse, coverage(model, engine.layers).others, facts)
    plan = load.compiled or build_engine(model).plan
    session = Session(plan)
    layers = session.layers()
    floats = coverage(model, layers).others if layers else None
    facts = {"run_by": str(find_package()), "plan_bytes": len(plan), "timed_by": "CUDA events"}
    return LoadedFile(graph, partial(_run, session), floats, facts)


def _run(session: Session, inputs: Mapping[str, Array]) -> Answer:
    """All samples, as many at a time as the engine was built for."""
    count, most = len(next(iter(inputs.values()))), session.most_samples
    parts = [
        session.run({name: array[start : start + most] for name, array in inputs.items()})
        for start in range(0, count, most)
    ]
    outputs = {n: np.concatenate([given[n] for given, _ in parts]) for n in parts[0][0]}
    return Answer(outputs, elapsed_ms=sum(elapsed for _, elapsed in parts))


def _refuse(inputs: Mapping[str, Array]) -> Answer:
    raise InputError(
        "TensorRT", "an engine runs on a CUDA device", found="a run", allowed="building"
    )


def _plan(source: Source, content: bytes) -> bytes:
    return build_engine(onnx.load_from_string(content)).plan


ADAPTER = Adapter(
    name="tensorrt",
    title="TensorRT" if MODULE == "tensorrt" else "TensorRT for RTX",
    distribution=DISTRIBUTIONS[MODULE],
    module=MODULE,
    least=LEAST[MODULE],
    install='pip install "deployq[tensorrt-rtx]"',
    licence="proprietary",
    file_name=TENSORRT.file_name,
    write=writer(TENSORRT),
    read=read_file,
    load=_load,
    computes=has_device,
    compiled=Compiled("model.tensorrt.plan", _plan),
)
