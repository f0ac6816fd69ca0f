"""LiteRT's three kernel sets against the simulator, on tie-rich graphs and a small network."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from benchmarks.litert_parity import NOT_DELEGATED, PARTLY
from benchmarks.litert_runs import (
    IN_FLOAT,
    compare,
    compare_alone,
    kernels_of,
    merged,
    scalar_contract,
)
from benchmarks.sweeps import wide
from benchmarks.sweeps.elementwise import (
    broadcasts,
    functions,
    gelus,
    hard_swishes,
    pairs,
    rescales,
    slopes,
)
from benchmarks.sweeps.layers import ROUGH, every_sum, linear, rows, windows
from benchmarks.sweeps.pools import means, pools
from benchmarks.sweeps.products import products
from benchmarks.sweeps.shares import shares
from benchmarks.sweeps.sweep import S16, Sweep
from benchmarks.sweeps.transposed import turned
from deployq import pipeline
from deployq.arithmetic.contract import Rounding
from deployq.arithmetic.geometry import ConvGeometry
from deployq.arithmetic.requant_words import Mantissa
from deployq.bundle import Bundle
from deployq.data import Dataset
from deployq.errors import InputError
from deployq.jobs import left_out
from deployq.opened_file import open_file
from deployq.simulator import run_graph
from deployq.simulator.shapes import code_shapes
from deployq_calibration.calibration_settings import CalibrationSettings
from deployq_exporters.runtimes.litert import Kernels, Session
from deployq_exporters.tflite import write_tflite
from deployq_exporters.tflite.clamp import FUSING
from deployq_targets import load_profile
from tests.exporters.attention import Block

pytest.importorskip("ai_edge_litert", reason="needs deployq[litert]")

TARGETS = ("litert-ref", "litert-optimized", "litert-xnnpack")
SWEEPS = {
    "CONV_2D": lambda: (*_some(every_sum("CONV_2D"), 17), *_some(windows("CONV_2D"), 7)),
    "DEPTHWISE_CONV_2D": lambda: (
        *_some(every_sum("DEPTHWISE_CONV_2D"), 19), *_some(windows("DEPTHWISE_CONV_2D"), 6),
    ),
    "TRANSPOSE_CONV": lambda: _some(turned(), 2),
    "FULLY_CONNECTED": lambda: (*_some(every_sum("FULLY_CONNECTED"), 19), *_some(rows(), 7)),
    "ADD": lambda: (*_some(pairs("ADD"), 9), *_some(broadcasts("ADD"), 4)),
    "MUL": lambda: (*_some(pairs("MUL"), 9), *_some(broadcasts("MUL"), 4)),
    "MEAN": lambda: _some(means(), 13),
    "LOGISTIC": lambda: _some(functions("LOGISTIC"), 1),
    "TANH": lambda: _some(functions("TANH"), 1),
    "LEAKY_RELU": lambda: _some(slopes(), 5),
    "HARD_SWISH": lambda: _some(hard_swishes(), 3),
    "GELU": lambda: _some(gelus(), 7),
    "BATCH_MATMUL": lambda: _some(products(), 7),
    "QUANTIZE": lambda: _some(rescales(), 3),
    "SOFTMAX": lambda: _some(shares(), 4),
    "AVERAGE_POOL_2D": lambda: _some(pools("AVERAGE_POOL_2D"), 2),
    "MAX_POOL_2D": lambda: _some(pools("MAX_POOL_2D"), 2),
}  # fmt: skip
"""A part of what the benchmark runs: each operator with every kind of graph."""


WIDE = {
    "CONV_2D": lambda: (*wide.every_sum("CONV_2D"), *_some(wide.windows("CONV_2D"), 9)),
    "DEPTHWISE_CONV_2D": lambda: (
        *_some(wide.every_sum("DEPTHWISE_CONV_2D"), 2),
        *_some(wide.windows("DEPTHWISE_CONV_2D"), 6),
    ),
    "TRANSPOSE_CONV": lambda: _some(turned(qtype=S16), 5),
    "FULLY_CONNECTED": lambda: (*wide.every_sum("FULLY_CONNECTED"), *_some(wide.rows(), 3)),
    "ADD": lambda: _some(wide.pairs("ADD"), 5),
    "MUL": lambda: _some(wide.pairs("MUL"), 9),
    "MEAN": lambda: _some(wide.means(), 2),
    "QUANTIZE": lambda: _some(wide.rescales(), 5),
    "AVERAGE_POOL_2D": lambda: [*wide.pools("AVERAGE_POOL_2D")],
    "MAX_POOL_2D": lambda: [*wide.pools("MAX_POOL_2D")],
    "CONCATENATION": lambda: [*wide.joined()],
}  # fmt: skip
"""The same of 16-bit codes."""


def _some(sweeps: Iterator[Sweep], step: int) -> list[Sweep]:
    return list(islice(sweeps, 0, None, step))


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("operator", SWEEPS)
def test_no_code_differs(operator: str, target: str) -> None:
    profile = load_profile(target)
    compared = [compare_alone(s.graph, profile, s.inputs) for s in SWEEPS[operator]()]
    (tally,) = merged(t for c in compared for t in c.tallies if t.operator == operator)
    assert tally.codes > 10_000 and tally.distinct > 100
    assert tally.different == tally.scalar  # 0 but for what the optimised kernels do one by one
    if kernels_of(profile) is not Kernels.OPTIMISED:
        assert (tally.different, sum(c.end_to_end for c in compared)) == (0, 0)
    delegated = kernels_of(profile) is Kernels.XNNPACK and operator not in NOT_DELEGATED
    if delegated and operator == PARTLY:
        assert 10 < tally.delegated < tally.layers - 10
    else:
        assert tally.delegated == (tally.layers if delegated else 0)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("operator", sorted(FUSING))
def test_no_code_differs_behind_a_fused_clamp(operator: str, target: str) -> None:
    sweep = SWEEPS[operator]()[1]
    (node,), out = sweep.graph.nodes, sweep.graph.qparams["y"]
    six = int(out.zero_point) + round(6 / float(out.scale))
    bounds = int(out.zero_point), min(127, six)
    graph = replace(sweep.graph, nodes=(replace(node, bounds=bounds),))
    found = compare_alone(graph, load_profile(target), sweep.inputs)
    tally = found.tallies[-1]
    assert tally.operator == operator and tally.distinct > 1
    assert tally.different == tally.scalar == found.end_to_end == 0


@pytest.mark.parametrize("target", ["litert-16x8", "litert-16x8-optimized"])
@pytest.mark.parametrize("operator", WIDE)
def test_no_code_of_16_bits_differs(operator: str, target: str) -> None:
    profile = load_profile(target)
    compared = [compare_alone(s.graph, profile, s.inputs) for s in WIDE[operator]()]
    (tally,) = merged(t for c in compared for t in c.tallies if t.operator == operator)
    assert tally.codes > 10_000 and tally.distinct > 100
    assert (tally.different, sum(c.end_to_end for c in compared)) == (0, 0)


@pytest.mark.parametrize("words", [
    {"mantissa": Mantissa.NEAREST}, {"rounding": Rounding.HALF_AWAY}, {"multiplier_bits": 14},
    {"mantissa": Mantissa.NEAREST, "multiplier_bits": 31},
], ids=str)  # fmt: skip
def test_every_word_of_a_16_bit_convolution_tells(words: dict[str, Any]) -> None:
    contract = load_profile("litert-16x8").contract()
    form = replace(contract.form("Conv"), **words)
    other = replace(contract, by_op={**contract.by_op, "Conv": form})
    sweeps = wide.every_sum("CONV_2D")
    assert any(
        (run_graph(s.graph, other, s.inputs).codes["y"].numpy() != run(s, Kernels.REFERENCE)).any()
        for s in sweeps
    )


def run(sweep: Sweep, kernels: Kernels) -> np.ndarray:
    codes = run_graph(sweep.graph, load_profile("litert-16x8").contract(), sweep.inputs).codes
    file = write_tflite(sweep.graph, {name: (1, *c.shape[1:]) for name, c in codes.items()})
    return Session(file, kernels).run(sweep.inputs)[0]["y"]


@pytest.mark.parametrize("operator", ["CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "ADD"])
def test_kernel_sets_differ_where_results_are_ties(operator: str) -> None:
    quarters, halves = islice(every_sum(operator), 1, 2), islice(pairs("ADD"), 10, 11)
    (sweep,) = halves if operator == "ADD" else quarters
    found = {kernels: run(sweep, kernels) for kernels in Kernels}
    reference, xnnpack = found[Kernels.REFERENCE], found[Kernels.XNNPACK]
    assert np.mean(reference != xnnpack) > 1e-3
    assert np.abs(reference - xnnpack).max() == 1
    if operator != "ADD":  # of one half, either way to round operands gives the same
        for other in (reference, xnnpack):
            assert (found[Kernels.OPTIMISED] != other).any()


@pytest.mark.parametrize(("channels", "groups", "whole"), [(20, 20, 16), (6, 6, 0), (8, 2, 0)])
def test_optimised_kernels_compute_one_by_one_what_fills_no_vector(
    channels: int, groups: int, whole: int
) -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(-128, 128, (8, channels, 21, 23))
    weight = rng.integers(-127, 128, (channels, channels // groups, 3, 3))
    bias, geometry = rng.integers(-999, 999, channels), ConvGeometry(groups=groups)
    sweep = linear("c", x, weight, bias, 2.0**-8, (5, -7), geometry, None, ROUGH)
    found, contract = run(sweep, Kernels.OPTIMISED), load_profile("litert-optimized").contract()
    forms = contract, scalar_contract(contract)
    own, scalar = (run_graph(sweep.graph, form, sweep.inputs).codes["y"].numpy() for form in forms)
    np.testing.assert_array_equal(found[:, :whole], own[:, :whole])
    np.testing.assert_array_equal(found[:, whole:], scalar[:, whole:])
    assert (own[:, whole:] != scalar[:, whole:]).any()


class Net(nn.Module):
    """Every operator of a small residual network, with pads that are SAME and pads that are not."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 16, 3, 2, 1)
        self.depthwise = nn.Conv2d(16, 16, 3, 1, 1, groups=16)
        self.point = nn.Conv2d(16, 16, 1)
        self.pool, self.average = nn.MaxPool2d(2), nn.AvgPool2d(2)
        self.last = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.first(x))
        x = torch.relu(self.point(torch.relu(self.depthwise(x))) + x)
        x = torch.cat([self.pool(x), self.average(x)[:, :, ::1]], 1)[:, 8:24]
        scores: Tensor = self.last(x.mean((2, 3)))
        return scores


def export(net: nn.Module, target: str, path: Path) -> tuple[Bundle, Dataset]:
    torch.manual_seed(0)
    model = pipeline.prepare(net.eval(), [torch.zeros(2, 3, 19, 17)], target)
    x = np.random.default_rng(0).normal(size=(48, 3, 19, 17)).astype(np.float32)
    data = Dataset(dict.fromkeys(model.inputs, x))
    pipeline.calibrate(model, data, CalibrationSettings(corrections=()))
    return pipeline.export(model, path, data), data


def test_a_network_of_16_bits_computes_what_the_simulator_says(tmp_path: Path) -> None:
    torch.manual_seed(0)
    bundle, data = export(Net(), "litert-16x8", tmp_path / "b")
    content = (bundle.path / "model.tflite").read_bytes()
    profile = load_profile("litert-16x8")
    found = compare(open_file(bundle.path).graph, content, profile, [data.inputs])
    assert found.end_to_end == 0 and all(tally.different == 0 for tally in found.tallies)
    assert {tally.operator for tally in found.tallies} >= {
        "CONV_2D", "DEPTHWISE_CONV_2D", "ADD", "MAX_POOL_2D", "AVERAGE_POOL_2D", "CONCATENATION",
        "STRIDED_SLICE", "MEAN", "FULLY_CONNECTED",
    }  # fmt: skip
    session = Session(content, Kernels.REFERENCE)
    with pytest.raises(InputError, match="takes int16 codes"):
        session.run({"x.codes": np.zeros((1, 3, 19, 17), np.int8)})


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Bundle, Dataset]:
    torch.manual_seed(0)
    return export(Net(), "litert-ref", tmp_path_factory.mktemp("bundles") / "net")


@pytest.mark.parametrize("target", TARGETS)
def test_an_exported_network_computes_what_the_simulator_says(
    target: str, exported: tuple[Bundle, Dataset]
) -> None:
    bundle, data = exported
    content = (bundle.path / "model.tflite").read_bytes()
    found = compare(open_file(bundle.path).graph, content, load_profile(target), [data.inputs])
    assert found.end_to_end == 0
    assert sum(tally.codes for tally in found.tallies) > 100_000
    assert {tally.operator for tally in found.tallies} >= {
        "CONV_2D", "DEPTHWISE_CONV_2D", "ADD", "MAX_POOL_2D", "AVERAGE_POOL_2D", "CONCATENATION",
        "STRIDED_SLICE", "MEAN", "FULLY_CONNECTED",
    }  # fmt: skip
    assert all(tally.different == 0 for tally in found.tallies)


class Decoder(nn.Module):
    """Transposed convolutions that SAME cuts and that it does not, reflected cells, shares."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 16, 3, 2, padding=1, padding_mode="reflect")
        self.up = nn.ConvTranspose2d(16, 16, 4, 2, 1)
        self.last = nn.ConvTranspose2d(16, 16, 3, 2, 1, output_padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.last(torch.relu(self.up(torch.relu(self.first(x))))))
        return x.mean((2, 3)).softmax(-1)


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> tuple[Bundle, Dataset]:
    torch.manual_seed(0)
    return export(Decoder(), "litert-ref", tmp_path_factory.mktemp("bundles") / "decoder")


@pytest.mark.parametrize("target", TARGETS)
def test_an_exported_decoder_computes_what_the_simulator_says(
    target: str, decoder: tuple[Bundle, Dataset]
) -> None:
    bundle, data = decoder
    content = (bundle.path / "model.tflite").read_bytes()
    few = {name: x[:4] for name, x in data.inputs.items()}  # a sample at a time
    found = compare(open_file(bundle.path).graph, content, load_profile(target), [few])
    assert found.end_to_end == 0 and all(tally.different == 0 for tally in found.tallies)
    assert {tally.operator for tally in found.tallies} >= {
        "CONV_2D", "TRANSPOSE_CONV", "MIRROR_PAD", "STRIDED_SLICE", "SOFTMAX",
    }  # fmt: skip


@pytest.fixture(scope="module")
def block(tmp_path_factory: pytest.TempPathFactory) -> tuple[Bundle, Dataset]:
    torch.manual_seed(0)
    return export(Block(), "litert-ref", tmp_path_factory.mktemp("bundles") / "block")


@pytest.mark.parametrize("target", TARGETS)
def test_an_exported_block_computes_what_the_simulator_says(
    target: str, block: tuple[Bundle, Dataset]
) -> None:
    """LayerNorm alone is in float: codes behind it may round a tie otherwise."""
    bundle, data = block
    content = (bundle.path / "model.tflite").read_bytes()
    found = compare(open_file(bundle.path).graph, content, load_profile(target), [data.inputs])
    tallies = {tally.operator: tally for tally in found.tallies}
    floats = tallies.pop(IN_FLOAT)
    assert floats.different <= floats.codes // 1000
    for name in ("BATCH_MATMUL", "GELU", "SOFTMAX", "FULLY_CONNECTED", "ADD"):
        tally = tallies.pop(name)
        assert tally.codes > 5_000 and tally.different == 0
    assert all(tally.different == 0 for tally in tallies.values())
    session = Session(content, Kernels.XNNPACK)
    left = {n for tensor, n in session.operators().items() if tensor not in session.delegated()}
    assert left == {"GELU", "SOFTMAX"}


def test_the_manifest_names_the_file(exported: tuple[Bundle, Dataset]) -> None:
    bundle, _ = exported
    assert bundle.facts["vendor_file"] == {"name": "model.tflite", "left_out": None}
    assert left_out(bundle) == []
    opened = open_file(bundle.path)
    shapes = code_shapes(opened.model, opened.graph)
    assert shapes is not None
    again = hashlib.sha256(write_tflite(opened.graph, shapes)).hexdigest()
    assert again == {file.path: file.sha256 for file in bundle.files}["model.tflite"]


def test_a_graph_that_the_format_cannot_say_leaves_the_file_out(tmp_path: Path) -> None:
    bundle, _ = export(nn.Sequential(nn.Softmax(1)), "litert-ref", tmp_path / "b")
    assert "model.tflite" not in {file.path for file in bundle.files}
    (line,) = left_out(bundle)
    assert line.startswith("no model.tflite: node ")
    assert "(Softmax): every operator has an integer form in a .tflite file" in line


def test_other_targets_have_no_such_file(tmp_path: Path) -> None:
    bundle, _ = export(nn.Sequential(nn.Conv2d(3, 8, 1)), "ethos-u55-128", tmp_path / "b")
    assert "vendor_file" not in bundle.facts and left_out(bundle) == []


def test_without_the_package_the_bundle_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith("ai_edge_litert")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    bundle, _ = export(nn.Sequential(nn.Conv2d(3, 8, 1)), "cmsis-nn", tmp_path / "b")
    (line,) = left_out(bundle)
    assert line.endswith('; pip install "deployq[litert]"')
    with pytest.raises(InputError, match="writes and runs"):
        Session(b"", Kernels.REFERENCE)


def test_bad_files_and_inputs_are_refused(exported: tuple[Bundle, Dataset]) -> None:
    with pytest.raises(InputError, match="LiteRT must load the file"):
        Session(b"no flatbuffer", Kernels.REFERENCE)
    session = Session((exported[0].path / "model.tflite").read_bytes(), Kernels.REFERENCE)
    assert session.inputs == ("x.codes",)
    with pytest.raises(InputError, match="takes int8 codes") as caught:
        session.run({"x": np.zeros((1, 3, 19, 17), np.int8)})
    assert (caught.value.where, caught.value.found) == ("input x.codes", "nothing")
    with pytest.raises(InputError, match="takes int8 codes"):
        session.run({"x.codes": np.zeros((1, 3, 19, 17), np.uint8)})
    with pytest.raises(InputError, match="LiteRT must run the file"):
        session.run({"x.codes": np.zeros((1, 3, 9, 17), np.int8)})
    with pytest.raises(InputError, match="LiteRT must load the file"):  # XNNPACK takes none of 2**8
        sweep = linear("c", np.zeros((1, 1, 1, 1)), np.ones((1, 1, 1, 1), np.int64), np.zeros(1),
                       300.0, (0, 0), ConvGeometry())  # fmt: skip
        run(sweep, Kernels.XNNPACK)
