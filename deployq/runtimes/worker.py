"""The process of one runtime: load its file, run the samples, take the time.

    python -m deployq.runtimes.worker FOLDER

Reads a job from the folder and writes the result there. Exit code 0, also where the runtime refuses
the file: that is a finding.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from deployq.errors import DeployqError
from deployq.runtimes.job import FILE, INNER, OUTPUTS, Array, Job, Result, joined, save_arrays
from deployq.runtimes.source import source_of
from deployq.verifier.evidence import Evidence
from deployq_exporters.adapters import ADAPTERS, Adapter, Load, Loaded, Source, require

WARM_UP = 10
YARDSTICK = "onnxruntime"

Inputs = Mapping[str, Array]


def main(folder: Path) -> None:
    """Run the job of a folder."""
    job, inputs = Job.read(folder)
    adapter, result = ADAPTERS[job.runtime], Result(require(ADAPTERS[job.runtime]))
    try:
        source = source_of(Evidence(Path(job.bundle)))
        result = _run(job, adapter, source, inputs, result, folder)
    except DeployqError as error:
        result = replace(result, refused={k: str(v) for k, v in error.as_dict().items()})
    result.write(folder)


def _run(
    job: Job, adapter: Adapter, source: Source, inputs: Inputs, result: Result, folder: Path
) -> Result:
    content, in_bundle = _file_of(adapter, source, Path(job.bundle))
    (folder / FILE).write_bytes(content)
    compiled = _compiled_of(adapter, Path(job.bundle)) if in_bundle else None
    loaded = adapter.load(source, content, Load(job.threads, compiled=compiled))
    result = replace(
        result, in_bundle=in_bundle, floats=loaded.floats, facts=dict(loaded.facts),
        float_products=loaded.float_products,
    )  # fmt: skip
    if not adapter.computes():
        return result
    save_arrays(folder / OUTPUTS, _outputs(loaded, inputs, job.batch))
    if job.inner:
        first = {name: array[: job.inner] for name, array in inputs.items()}
        kept = adapter.load(source, content, Load(job.threads, inner=True)).run(first)
        save_arrays(folder / INNER, kept.inner)
    if job.runs and not adapter.emulated:
        result = _timed(job, source, loaded, inputs, result)
    return replace(result, ran=True)


def _file_of(adapter: Adapter, source: Source, bundle: Path) -> tuple[bytes, bool]:
    """The runtime's file, and whether the bundle has it."""
    path = bundle / adapter.file_name
    return (path.read_bytes(), True) if path.is_file() else (adapter.write(source), False)


def _compiled_of(adapter: Adapter, bundle: Path) -> bytes | None:
    """What the runtime's compiler made of the bundle's file; None where the bundle lacks it."""
    path = None if adapter.compiled is None else bundle / adapter.compiled.file_name
    return path.read_bytes() if path is not None and path.is_file() else None


def _outputs(loaded: Loaded, inputs: Inputs, batch: int) -> dict[str, Array]:
    count = len(next(iter(inputs.values())))
    parts = [
        loaded.run({name: array[i : i + batch] for name, array in inputs.items()}).outputs
        for i in range(0, count, batch)
    ]
    return joined(parts)


def _timed(job: Job, source: Source, loaded: Loaded, inputs: Inputs, result: Result) -> Result:
    """One sample in the runtime and in ONNX Runtime, in turn."""
    other, sample = ADAPTERS[YARDSTICK], {name: array[:1] for name, array in inputs.items()}
    content = _file_of(other, source, Path(job.bundle))[0]
    both = {"times_ms": loaded, "yardstick_ms": other.load(source, content, Load(job.threads))}
    times: dict[str, list[float]] = {name: [] for name in both}
    for number in range(WARM_UP + job.runs):
        for name, one in both.items():
            start = time.perf_counter()
            answer = one.run(sample)
            waited = 1e3 * (time.perf_counter() - start)
            if number >= WARM_UP:
                own = answer.elapsed_ms
                times[name].append(waited if own is None else own)
    return replace(
        result, times_ms=tuple(times["times_ms"]), yardstick_ms=tuple(times["yardstick_ms"])
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
