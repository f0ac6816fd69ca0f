"""Golden vectors of small graphs, and gcc to build and run what was written."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from deployq.golden_vectors.tracing import trace_graph
from deployq.qgraph import IntegerGraph, read_graph
from deployq.qgraph.edges import feed
from deployq.simulator import run_graph
from deployq_exporters.golden.folder import write_vectors
from deployq_exporters.golden.trace import Trace
from deployq_targets import TargetProfile, load_profile

GCC = shutil.which("gcc")
needs_gcc = pytest.mark.skipif(GCC is None, reason="gcc is not here")
FLAGS = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic")
SANITIZE = ("-fsanitize=undefined", "-fno-sanitize-recover=undefined")


def traced(
    model: onnx.ModelProto | IntegerGraph, target: str | TargetProfile, x: Any, name: str = "x"
) -> Trace:
    """The golden vectors of a model run on ``x``."""
    graph = model if isinstance(model, IntegerGraph) else read_graph(model)
    profile = load_profile(target) if isinstance(target, str) else target
    simulation = run_graph(graph, profile.contract(), feed(graph, {name: x}))
    return trace_graph(graph, profile, simulation, samples=len(x))


def merged(traces: Mapping[str, Trace]) -> Trace:
    """Several networks in one program: their nodes and tensors get the name in front.

    They share the accumulator and the memory of the first.
    """
    layers = []
    for name, trace in traces.items():
        for layer in trace.layers:
            node = layer.node
            inputs = tuple(f"{name}/{tensor}" for tensor in node.inputs)
            node = replace(node, name=f"{name}/{node.name}", inputs=inputs,
                           output=f"{name}/{node.output}")  # fmt: skip
            layers.append(replace(layer, node=node))
    return replace(next(iter(traces.values())), layers=tuple(layers))


def written(trace: Trace, folder: Path) -> Path:
    """The folder with every file but the manifest."""
    folder.mkdir(parents=True)
    write_vectors(trace, folder)
    return folder


def built(source: Path, program: Path, *flags: str) -> Path:
    """The program, built without a warning."""
    assert GCC is not None
    made = subprocess.run(
        [GCC, *FLAGS, "-O0", *flags, str(source), "-o", str(program)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (made.returncode, made.stderr) == (0, "")
    return program


def ran(program: Path) -> tuple[int, str]:
    """Exit status and what was printed; a sanitizer's complaint is a failure."""
    done = subprocess.run([str(program)], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return done.returncode, done.stdout


def sanitized(folder: Path) -> tuple[int, str]:
    """The folder's own program, built with the undefined-behaviour sanitizer."""
    return ran(built(folder / "c/golden.c", folder.with_suffix(".out"), *SANITIZE))


def reals(shape: tuple[int, ...], low: float = -5, high: float = 130) -> Any:
    """Random float32, the same in every run."""
    return np.random.default_rng(0).uniform(low, high, shape).astype(np.float32)
