"""What a process is asked to run, and what it answers, as files of one folder."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from deployq.npz import load_arrays

Array = npt.NDArray[Any]

JOB, INPUTS = "job.json", "inputs.npz"
RESULT, FILE, OUTPUTS, INNER = "result.json", "file", "outputs.npz", "inner.npz"


@dataclass(frozen=True)
class Job:
    """One runtime's part of a verification.

    Args:
        runtime: name of its adapter.
        bundle: folder.
        batch: samples at a time.
        inner: first samples whose inner codes are wanted.
        runs: timed runs of one sample; 0 for none.
        threads: of one operator.
    """

    runtime: str
    bundle: str
    batch: int
    inner: int
    runs: int
    threads: int = 1

    def write(self, folder: Path, inputs: Mapping[str, Array]) -> None:
        """Into an empty folder."""
        (folder / JOB).write_text(json.dumps(asdict(self)))
        save_arrays(folder / INPUTS, inputs)

    @classmethod
    def read(cls, folder: Path) -> tuple[Job, dict[str, Array]]:
        """The job and its inputs."""
        inputs = load_arrays(folder / INPUTS)
        return cls(**json.loads((folder / JOB).read_text())), dict(inputs)


@dataclass(frozen=True)
class Result:
    """What a process found.

    Args:
        version: of the runtime.
        refused: the finding where the runtime did not take the file; empty where it did.
        ran: it computed outputs.
        in_bundle: the file was the bundle's; otherwise it was written for the run.
        floats: nodes outside integer kernels; None where the runtime does not tell.
        float_products: nodes that multiply in float; None where the runtime does not tell.
        facts: what else its tool says.
        times_ms, yardstick_ms: of one sample, in turn with ONNX Runtime's file.
    """

    version: str
    refused: Mapping[str, str] = field(default_factory=dict)
    ran: bool = False
    in_bundle: bool = False
    floats: tuple[str, ...] | None = None
    float_products: tuple[str, ...] | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    times_ms: tuple[float, ...] = ()
    yardstick_ms: tuple[float, ...] = ()

    def write(self, folder: Path) -> None:
        """Beside the arrays."""
        (folder / RESULT).write_text(json.dumps(asdict(self)))

    @classmethod
    def read(cls, folder: Path) -> Result:
        """What :meth:`write` wrote."""
        facts = json.loads((folder / RESULT).read_text())
        for name in ("floats", "float_products", "times_ms", "yardstick_ms"):
            if facts[name] is not None:
                facts[name] = tuple(facts[name])
        return cls(**facts)


def joined(parts: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
    """Arrays of batches, end to end."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def save_arrays(path: Path, arrays: Mapping[str, Array]) -> None:
    """An ``.npz`` of arrays by name."""
    named: dict[str, Any] = dict(arrays)
    np.savez(path, **named)
