"""What the bytes of an export depend on besides its inputs: versions, CPU, threads."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = (
    "deployq",
    "torch",
    "onnx",
    "onnxruntime",
    "numpy",
    "onnx-ir",
    "onnxscript",
    "safetensors",
    "ml_dtypes",
    "pydantic",
    "ai-edge-litert",  # its schema writes .tflite, with flatbuffers
    "flatbuffers",
)
CPU_FLAGS = (
    "avx2",
    "avx512f",
    "avx512_vnni",
    "avx_vnni",
    "amx_int8",  # x86
    "asimddp",
    "i8mm",
    "sve",  # Arm
)
"""Features that choose another integer or float kernel, as Linux spells them."""

_CPUINFO = Path("/proc/cpuinfo")


def environment_facts(threads: int | None = None) -> dict[str, object]:
    """Facts for the manifest: no host name, no path, no time.

    Args:
        threads: the thread count that the export uses; by default the CPUs this process may
            run on.

    A package that is not installed has version null. Nothing heavy is imported. Where the
    system does not list CPU features, ``cpu_flags`` is null.
    """
    return {
        "packages": {name: _version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cpu_flags": _cpu_flags(),
        "threads": _usable_cpus() if threads is None else threads,
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _cpu_flags() -> list[str] | None:
    try:
        lines = _CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() in ("flags", "Features"):
            present = set(value.split())
            return [flag for flag in CPU_FLAGS if flag in present]
    return None


def _usable_cpus() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
