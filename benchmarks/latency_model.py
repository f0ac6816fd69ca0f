"""The latency model beside Vela's estimate on the Ethos-U profiles. Both are models; no figure is
fitted to Vela's.

    python -m benchmarks.latency_model [--models NAMES] [--targets NAMES] [--work FOLDER]
    python -m benchmarks.latency_model --later [--models NAMES] [--targets NAMES] [--work FOLDER]

A network is prepared once, as the profiles share one integer contract, and its ``.tflite`` file is
compiled for each; one that TFLite cannot say is listed. Layers are matched by the tensors that they
write. Exit code 1: the ranks of a network's layers correlate below 0.9, or its total is off by more
than 30 %.

``--later`` takes the networks that were chosen when the model was finished, and not looked at
before, all or those of ``--models``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import nn

from benchmarks.command import chosen_parts, parser, work_folder
from benchmarks.latency_match import Match, matched
from benchmarks.models.registry import chosen
from benchmarks.models.spec import ModelSpec
from benchmarks.part import Facts, Table, show
from benchmarks.timm_cnns.network import images, network
from deployq import pipeline
from deployq.data import Dataset
from deployq.errors import UnsupportedError
from deployq.graph.capture import capture
from deployq.opened_file import open_file
from deployq.progress import progress
from deployq.simulator.shapes import code_shapes
from deployq_calibration.calibration_settings import CalibrationSettings
from deployq_exporters.runtimes.ethos_u import compile_by_vela
from deployq_exporters.tflite import write_tflite
from deployq_targets import load_profile
from deployq_targets.latency_model import model_latency

TARGETS = ("ethos-u55-128", "ethos-u55-256", "ethos-u65-512", "ethos-u85-512", "ethos-u85-1024")
EXPORTED_FOR = "ethos-u55-256"
LATER = (
    "mobilenetv2_035", "regnetx_002", "resnet10t",  # of the first model, known to the second
    "mnasnet_050", "dla46_c", "efficientnet_lite0",  # of the second model, which has blocks
    "fbnetc_100", "repvgg_a0", "selecsls42b",  # of the third, which copies one by one
    "densenet121", "darknet17", "hrnet_w18_small",  # of the fourth, where biases come lot by lot
)  # fmt: skip
"""Networks of ``benchmarks.timm_cnns``, fixed before any of them had been modelled or compiled."""

LATER_SIZE = 64
SAMPLES = 8
LEAST_CORRELATION, FURTHEST_TOTAL = 0.9, 0.3
SETTINGS = CalibrationSettings(activations="minmax", weights="minmax", corrections=())
"""Scales are of no weight here: what is calibrated is weights' codes, which compress."""

COLUMNS = (
    "network", "target", "layers", "rank correlation", "modelled ms", "Vela ms", "ratio",
    "unmatched", "assumed",
)  # fmt: skip


@dataclass(frozen=True)
class Subject:
    """A network with samples of its one input, batch first."""

    name: str
    build: Callable[[], nn.Module]
    samples: Callable[[], Dataset]


def main() -> int:
    """Run what the flags name; the exit code."""
    flags = parser(__doc__)
    flags.add_argument("--targets", default=",".join(TARGETS), help="names with commas")
    flags.add_argument("--later", action="store_true", help="the networks that were chosen later")
    flags.add_argument("--layers", action="store_true", help="print every layer")
    given = flags.parse_args()
    subjects = later(given.models) if given.later else [of(s) for s in chosen(given.models)]
    targets = given.targets.split(",")
    matches, left_out = list[Match](), dict[str, str]()
    with work_folder(given.work) as work, progress(len(subjects)) as advance:
        for subject in subjects:
            advance(subject.name)
            try:
                matches += compare(subject, targets, work)
            except UnsupportedError as error:
                left_out[subject.name] = " ".join(str(error).split())
    if given.layers:
        print_layers(matches)
    for name, reason in left_out.items():
        print(f"NOT COMPARED {name}: {reason}")
    return show(
        table(matches), "latency_model", given.json_out, later=given.later, left_out=left_out
    )


def of(spec: ModelSpec) -> Subject:
    """A trained network."""
    return Subject(spec.name, spec.load, lambda: spec.calibration().take(SAMPLES))


def later(names: str | None) -> list[Subject]:
    """The networks of :data:`LATER`, or those of them that are named."""
    given = chosen_parts(names, LATER) if names else LATER
    pixels = images("imagenet_calib500_227", LATER_SIZE)
    samples = Dataset({"x": pixels[:SAMPLES]})
    return [Subject(name, partial(network, name, pixels[:32]), lambda: samples) for name in given]


def compare(subject: Subject, targets: list[str], work: Path) -> Iterator[Match]:
    """One network on each target."""
    opened = open_file(bundle(subject, work))
    shapes = code_shapes(opened.model, opened.graph)
    assert shapes is not None, subject.name
    content = write_tflite(opened.graph, shapes)
    for name in targets:
        profile = load_profile(name)
        modelled = model_latency(opened.graph, shapes, profile)
        yield matched(subject.name, modelled, compile_by_vela(content, profile).report)


def bundle(subject: Subject, work: Path) -> Path:
    """A bundle of the network, from few samples and without corrections."""
    path = work / subject.name
    if not path.exists():
        samples = subject.samples()
        (first,) = samples.inputs.values()
        captured = capture(subject.build(), [torch.from_numpy(first[:2])])
        prepared = pipeline.prepare(captured, (), EXPORTED_FOR)
        data = Dataset({next(iter(prepared.inputs)): first})
        pipeline.calibrate(prepared, data, SETTINGS)
        pipeline.export(prepared, path, data)
    return path


def table(matches: list[Match]) -> Table:
    """All comparisons, and those beyond a limit."""
    return Table(
        "Latency: the model beside Vela's estimate, neither measured",
        COLUMNS,
        [row(match) for match in matches],
        [facts(match) for match in matches],
        [miss for match in matches for miss in misses(match)],
    )


def row(match: Match) -> tuple[str, ...]:
    """One comparison for people."""
    return (
        match.network, match.target, str(len(match.pairs)), f"{match.correlation:.3f}",
        f"{match.modelled_ms:.3f}", f"{match.vela_ms:.3f}", f"{match.ratio:.2f}",
        ", ".join((*match.only_modelled, *match.only_vela)), match.assumed,
    )  # fmt: skip


def facts(match: Match) -> Facts:
    """One comparison as data."""
    return {
        "network": match.network, "target": match.target, "layers": len(match.pairs),
        "correlation": match.correlation, "modelled_ms": match.modelled_ms,
        "vela_ms": match.vela_ms, "ratio": match.ratio, "only_modelled": match.only_modelled,
        "only_vela": match.only_vela, "assumed": match.assumed,
    }  # fmt: skip


def misses(match: Match) -> Iterator[str]:
    """What lies beyond the limits."""
    where = f"{match.network}, {match.target}"
    if not match.correlation >= LEAST_CORRELATION:  # nan: all layers are equal
        yield f"{where}: rank correlation {match.correlation:.3f}, at least {LEAST_CORRELATION}"
    if abs(match.ratio - 1) > FURTHEST_TOTAL:
        yield f"{where}: total {match.ratio:.2f} of Vela's, within {FURTHEST_TOTAL:.0%}"


def print_layers(matches: list[Match]) -> None:
    """Every layer of every comparison: cycles of both, and what bounds the modelled one."""
    for match in matches:
        print(f"{match.network}, {match.target}")
        for pair in match.pairs:
            print(f"  {pair.name:40} {pair.modelled:12.0f} {pair.vela:12.0f}  {pair.bound}")


if __name__ == "__main__":
    sys.exit(main())
