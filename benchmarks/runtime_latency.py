"""Latency in each runtime of this processor: our file, the float file and the peers' files.

    python -m benchmarks.runtime_latency [--models a,b] [--batches 1,32] [--rounds 20] [--work DIR]

Each runtime gets the file of the target that is made for it; float and peers' files are ONNX and go
to the runtimes that take them. Two threads; everything in one process, in turn, in an order drawn
anew each round. LiteRT's and our ONNX files take what they state: codes or reals. Given: medians,
our file over each other one in the same runtime, and over the float file in ONNX Runtime, both the
median of the rounds' ratios with its 95 % bootstrap interval. Exit code 1 where the upper end
against the better peer of a runtime is above --goal. ``--light N`` takes ranges of N samples for
ours and corrects nothing, for networks that are slow to calibrate: scales decide codes, not time.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType

import numpy as np

from benchmarks import runtime
from benchmarks.command import chosen_parts, parser, work_folder
from benchmarks.contenders import FLOAT, PEERS, Built, build_all, bundle, plain_bundle
from benchmarks.models.registry import chosen
from benchmarks.models.spec import ModelSpec
from benchmarks.part import Facts, Table, show
from benchmarks.rounds import Run, interleaved
from benchmarks.statistics import Interval, Rows, median_ratio
from deployq import affine
from deployq.errors import DeployqError
from deployq.progress import progress
from deployq.qgraph import IntegerGraph
from deployq.qgraph.edges import feed
from deployq.qgraph.nodes import Quantize
from deployq.runtimes.source import source_of
from deployq.verifier.evidence import Evidence
from deployq_exporters.adapters import ADAPTERS
from deployq_exporters.runtimes import litert, openvino

Array = runtime.Array
Open = Callable[[Path, int], Callable[[Array], Run]]
Feeds = Callable[[IntegerGraph, Array], Array]
OWN, YARDSTICK = "deployq", "onnxruntime"
COLUMNS = ("network", "batch", "runtime", "file", "median ms", "deployq / file",
           "file / float in ONNX Runtime", "reason")  # fmt: skip


def _in_onnxruntime(path: Path, threads: int) -> Callable[[Array], Run]:
    session = runtime.session(path, threads=threads)
    return lambda array: runtime.runs(session, array)


def _in_openvino(path: Path, threads: int) -> Callable[[Array], Run]:
    session = openvino.Session(path.read_bytes(), threads=threads)
    return lambda array: lambda: session.run({session.inputs[0]: array})


def _in_litert(path: Path, threads: int) -> Callable[[Array], Run]:
    session = litert.Session(path.read_bytes(), litert.Kernels.XNNPACK, threads=threads)
    return lambda array: lambda: session.run({session.inputs[0]: array})


def _onnx_feed(graph: IntegerGraph, array: Array) -> Array:
    return feed(graph, {graph.inputs[0]: array})[graph.inputs[0]]


def _codes(graph: IntegerGraph, array: Array) -> Array:
    first = next((n.output for n in graph.nodes if isinstance(n, Quantize)), graph.inputs[0])
    return affine.quantize(array, graph.qparams[first])


@dataclass(frozen=True)
class Engine:
    """A runtime that computes on this processor.

    Args:
        target: builtin profile that is made for it.
        open: a file, to be run with inputs of its own type.
        feeds: what our file takes, of reals.
        takes_onnx: float and peers' files go in.
    """

    target: str
    open: Open
    feeds: Feeds = _onnx_feed
    takes_onnx: bool = True


ENGINES: Mapping[str, Engine] = MappingProxyType(
    {
        YARDSTICK: Engine("ort-cpu", _in_onnxruntime),
        "openvino": Engine("openvino-cpu", _in_openvino),
        "litert": Engine("litert-xnnpack", _in_litert, _codes, takes_onnx=False),
    }
)
"""By the name of the adapter."""


def main() -> int:
    """Print a row for each network, batch, runtime and file, and a line of JSON."""
    flags = parser(__doc__)
    flags.add_argument("--runtimes", default=",".join(ENGINES))
    flags.add_argument("--batches", default="1,32")
    flags.add_argument("--rounds", type=int, default=20)
    flags.add_argument("--threads", type=int, default=2)
    flags.add_argument("--goal", type=float, default=1.03)
    flags.add_argument("--peers", default=",".join(PEERS))
    flags.add_argument("--light", type=int, help="calibrate on N samples, without corrections")
    given = flags.parse_args()
    engines = chosen_parts(given.runtimes, ENGINES)
    others = (FLOAT, *chosen_parts(given.peers, PEERS))
    specs, batches = chosen(given.models), [int(b) for b in given.batches.split(",")]
    facts = list[Facts]()
    with work_folder(given.work) as work, progress(len(specs)) as advance:
        for spec in specs:
            advance(spec.name)
            files = list(_files(spec, engines, others, work, given.light))
            for batch in batches:
                facts.append(measure(spec, files, batch, given.rounds, given.threads))
    rows = [_cells(found, entry) for found in facts for entry in found["files"]]
    misses = [miss for found in facts for miss in _misses(found, given.goal)]
    table = Table("latency in each runtime", COLUMNS, rows, facts, misses)
    code = show(table, "runtime_latency", given.json_out, threads=given.threads, goal=given.goal)
    for found in facts:
        print(f"{found['name']}, batch {found['batch']}: fastest in {found['fastest']}")
    return code


@dataclass(frozen=True)
class File:
    """One file in one runtime.

    Args:
        engine: name of the runtime.
        built: whose file, and where it is.
        fed: reals of a batch, as the file wants them.
    """

    engine: str
    built: Built
    fed: Callable[[Array], Array] = np.asarray

    @property
    def key(self) -> str:
        return f"{self.engine} {self.built.contender}"


def _files(
    spec: ModelSpec, engines: list[str], others: tuple[str, ...], work: Path, light: int | None
) -> Iterator[File]:
    built = build_all(spec, others, work)
    for name in engines:
        yield _own(spec, name, work, light)
        if ENGINES[name].takes_onnx:
            yield from (File(name, each) for each in built)


def _own(spec: ModelSpec, name: str, work: Path, light: int | None) -> File:
    """The runtime's own file of a bundle."""
    adapter, target = ADAPTERS[name], ENGINES[name].target
    try:
        if light is None:
            folder = bundle(spec, target, work)
        else:
            folder = plain_bundle(spec, target, work / spec.name / f"{target}-{light}", light)
        source = source_of(Evidence(folder))
        path = work / spec.name / f"{target}.{adapter.file_name}"
        path.write_bytes(adapter.write(source))
        graph = adapter.read(source, path.read_bytes())
    except DeployqError as error:
        return File(name, Built(OWN, None, f"{error.where}: {error.rule} [{error.found}]"))
    return File(name, Built(OWN, path), partial(ENGINES[name].feeds, graph))


def measure(spec: ModelSpec, files: list[File], batch: int, rounds: int, threads: int) -> Facts:
    """Times of every file at one batch size."""
    sample = next(iter(spec.calibration().take(batch).inputs.values()))
    runs, reasons = dict[str, Run](), dict[str, str]()
    for file in files:
        try:
            runs[file.key] = _run(file, sample, threads)
        except DeployqError as error:
            reasons[file.key] = f"{error.where}: {error.rule} [{error.found}]"
    times = interleaved(runs, rounds)
    entries = [_entry(file, times, reasons.get(file.key, "")) for file in files]
    own = {f.engine: np.median(times[f.key]) for f in files if _is_own(f) and f.key in times}
    return {
        "name": spec.name, "batch": batch, "files": entries,
        "fastest": min(own, key=lambda name: own[name], default=None),
    }  # fmt: skip


def _run(file: File, sample: Array, threads: int) -> Run:
    if file.built.path is None:
        raise DeployqError(file.key, file.built.reason)
    run = ENGINES[file.engine].open(file.built.path, threads)(file.fed(sample))
    run()  # a kernel that refuses the file says so here
    return run


def _is_own(file: File) -> bool:
    return file.built.contender == OWN


def _entry(file: File, times: Mapping[str, Rows], reason: str) -> Facts:
    entry: Facts = {"runtime": file.engine, "file": file.built.contender, "reason": reason}
    if file.key not in times:
        return entry
    entry["median_ms"] = 1e3 * float(np.median(times[file.key]))
    own, floats = f"{file.engine} {OWN}", f"{YARDSTICK} {FLOAT}"
    if own in times and own != file.key:
        entry["own_over"] = asdict(median_ratio(times[own], times[file.key]))
    if floats in times and floats != file.key:
        entry["over_float"] = asdict(median_ratio(times[file.key], times[floats]))
    return entry


def _misses(found: Facts, goal: float) -> Iterator[str]:
    for engine in dict.fromkeys(entry["runtime"] for entry in found["files"]):
        rivals = [
            entry for entry in found["files"]
            if entry["runtime"] == engine and entry["file"] in PEERS and "own_over" in entry
        ]  # fmt: skip
        if not rivals:
            continue
        better = min(rivals, key=lambda entry: entry["median_ms"])
        if better["own_over"]["high"] > goal:
            text = Interval(**better["own_over"]).text(3)
            yield f"{found['name']}, batch {found['batch']}, {engine}: {better['file']} {text}"


def _cells(found: Facts, entry: Facts) -> tuple[str, ...]:
    ratios = (
        Interval(**entry[k]).text(3) if k in entry else "" for k in ("own_over", "over_float")
    )
    shown = f"{entry['median_ms']:.3f}" if "median_ms" in entry else "-"
    head = (found["name"], str(found["batch"]), entry["runtime"], entry["file"])
    return (*head, shown, *ratios, entry["reason"])


if __name__ == "__main__":
    sys.exit(main())
