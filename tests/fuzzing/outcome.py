"""What a damaged file may do: be read, or be refused in words; in bounded time and memory."""

from __future__ import annotations

import json
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import onnx

from deployq import jobs, pipeline
from deployq.errors import DeployqError
from deployq.graph.onnx_guard import load_onnx
from deployq_targets import TargetProfile, load_profile
from tests.fuzzing.seeds import samples

TARGETS = (
    "ort-cpu", "int8-npu", "int4-npu", "lowbit-vlsi", "nvdla-small", "tensorrt", "litert-ref",
    "ethos-u55-256", "max78000", "qnn-htp",
)  # fmt: skip

SECONDS = 60
"""Of one file: a thousand times what a seed takes, so only a hang takes them."""

MEMORY = 4 << 30
"""Bytes that a file may take beyond what the process has: 2**26 elements of 8 bytes, some times."""


@cache
def target(name: str) -> TargetProfile:
    return load_profile(name)


def outcome(job: Callable[[], Any]) -> Any:
    """What a job gives; None where it refuses. Everything but a refusal in words is a fault."""
    try:
        return job()
    except DeployqError as error:
        assert error.where and error.rule and str(error), repr(error)
        json.dumps(error.as_dict())
        return None


def survives(source: Path | onnx.ModelProto, profile: TargetProfile) -> bool:
    """Check, inspect and simulate a damaged file; true if it was good enough to be checked."""
    with bounded():
        findings = outcome(lambda: pipeline.check(source, profile))
        if findings is None:
            return False
        json.dumps([finding.as_dict() for finding in findings])
        if isinstance(source, Path):
            outcome(lambda: jobs.inspect_file(source))
        model = load_onnx(source) if isinstance(source, Path) else source
        inputs = samples(model)
        if inputs is not None:
            outcome(lambda: pipeline.simulate(source, inputs, profile))
        return True


@contextmanager
def bounded() -> Iterator[None]:
    """A hang and a hunger for memory become errors of this process."""

    def stop(*_: object) -> None:
        raise TimeoutError(f"more than {SECONDS} seconds")

    before = resource.getrlimit(resource.RLIMIT_AS)
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    kept = signal.signal(signal.SIGALRM, stop)
    resource.setrlimit(resource.RLIMIT_AS, (taken + MEMORY, before[1]))
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, kept)
        resource.setrlimit(resource.RLIMIT_AS, before)
