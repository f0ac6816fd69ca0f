"""Vela's adapter: facts of a small file, and every way in which it fails."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.latency_match import matched, owner_of, spearman
from benchmarks.sweeps.sweep import grid
from benchmarks.sweeps.transposed import turned
from deployq.arithmetic.geometry import ConvGeometry
from deployq.arithmetic.litert_softmax import fixed_exponentials
from deployq.errors import InputError
from deployq.qgraph.nodes import Elementwise, IntegerGraph, Linear, Node, Softmax
from deployq.qparams import PerChannel, QParams
from deployq.qtypes import QType
from deployq_exporters.runtimes.ethos_u import compile_by_vela
from deployq_exporters.runtimes.vela_report import read_report
from deployq_exporters.tflite import write_tflite
from deployq_targets import load_profile
from deployq_targets.latency_model import model_latency

pytest.importorskip("ai_edge_litert", reason="needs deployq[litert]")
pytest.importorskip("ethosu.vela", reason="needs deployq[ethos-u]")

U55 = load_profile("ethos-u55-256")
S8, S32 = QType(8, signed=True), QType(32, signed=True)


def layer(x: str, y: str, stride: int, kernel: int) -> Linear:
    pads = (1, 1, 1, 1) if stride == 1 else (0, 0, 1, 1)
    weight = np.random.default_rng(0).integers(-127, 128, (8, 8, kernel, kernel))
    scales = QParams(S8, np.full(8, 0.01, np.float32), granularity=PerChannel(0))
    return Linear(
        name=y, op_type="Conv", inputs=(x,), output=y, weight=weight, weight_qparams=scales,
        bias=np.zeros(8, np.int64), bias_type=S32,
        geometry=ConvGeometry(strides=(stride, stride), pads=pads),
    )  # fmt: skip


NODES: tuple[Node, ...] = (
    layer("x", "a.codes", 1, 3),
    Elementwise(name="s", op_type="Add", inputs=("x", "a.codes"), output="s.codes"),
    layer("s.codes", "y.codes", 2, 3),
)
SIZES = {"x": 16, "a.codes": 16, "s.codes": 16, "y.codes": 8}


def graph_of(nodes: tuple[Node, ...]) -> IntegerGraph:
    names = ["x", *(node.output for node in nodes)]
    qparams = {name: grid(0.05 + 0.01 * at) for at, name in enumerate(names)}
    return IntegerGraph(nodes, qparams, ("x",), (nodes[-1].output,))


def content() -> bytes:
    return write_tflite(graph_of(NODES), {n: (1, 8, size, size) for n, size in SIZES.items()})


def test_vela_says_what_runs_where_and_how_long() -> None:
    output = compile_by_vela(content(), U55)
    report = output.report
    assert output.file[4:8] == b"TFL3" and b"ethos-u" in output.file
    assert [(op.kind, op.name) for op in report.npu] == [
        ("Conv2D", "a.codes"), ("Add", "s.codes"), ("Conv2D", "y.codes"),
    ]  # fmt: skip
    assert report.cpu == ()
    assert [row.name for row in report.layers] == ["a.codes", "s.codes", "y.codes"]
    assert report.macs == 16 * 16 * 8 * 8 * 9 + 8 * 8 * 8 * 8 * 9
    assert report.cycles.total == sum(row.cycles.total for row in report.layers)
    assert report.seconds == pytest.approx(report.cycles.total / report.clock_hz)
    assert report.sram_bytes > 0 and report.flash_bytes > 0
    for word in (report.version, "Ethos_U55_256", "Ethos_U55_High_End_Embedded", "Shared_Sram"):
        assert word in report.assumed


def test_a_layer_beyond_the_target_is_the_processor_s() -> None:
    graph = graph_of((layer("x", "y.codes", 4, 3),))
    file = write_tflite(graph, {"x": (1, 8, 18, 18), "y.codes": (1, 8, 5, 5)})
    report = compile_by_vela(file, U55).report
    assert (report.layers, report.npu, report.cycles.total) == ((), (), 0)
    assert [(op.kind, op.name) for op in report.cpu] == [("Conv2D", "y.codes")]


@pytest.mark.parametrize("name", ["u55-128", "u55-256", "u65-512", "u85-512"])
def test_a_softmax_runs_there_by_the_simulator_s_table(name: str) -> None:
    node = Softmax(name="s", op_type="Softmax", inputs=("x",), output="y.codes")
    qx = grid(0.0173, 5)
    graph = IntegerGraph((node,), {"x": qx, "y.codes": grid(1 / 256, -128)}, ("x",), ("y.codes",))
    file = write_tflite(graph, {"x": (1, 4420, 2), "y.codes": (1, 4420, 2)})
    output = compile_by_vela(file, load_profile(f"ethos-{name}"))
    assert output.report.cpu == () and output.report.npu
    table = fixed_exponentials(qx)[::-1].astype("<u4").tobytes()
    assert table in output.file


def test_a_cut_transposed_convolution_runs_there() -> None:
    sweep = list(turned())[16]
    shapes = {"x": (1, 16, 8, 7), "y": (1, 32, 16, 14)}
    report = compile_by_vela(write_tflite(sweep.graph, shapes), U55).report
    assert report.cpu == ()
    assert {op.kind for op in report.npu} == {"TransposeConv2D", "StridedSlice"}


def test_options_of_the_profile_are_flags() -> None:
    options = {"accelerator-config": "ethos-u55-256", "system-config": "Ethos_U55_Deep_Embedded"}
    profile = U55.model_copy(update={"verify": U55.verify.model_copy(update={"options": options})})
    assert compile_by_vela(content(), profile).report.clock_hz == 200e6


def test_modelled_layers_find_their_rows() -> None:
    graph, shapes = graph_of(NODES), {n: (1, 8, size, size) for n, size in SIZES.items()}
    report = compile_by_vela(content(), U55).report
    match = matched("net", model_latency(graph, shapes, U55), report)
    assert [pair.name for pair in match.pairs] == ["a.codes", "s.codes", "y.codes"]
    assert (match.only_modelled, match.only_vela) == ((), ())
    assert "Vela" in match.assumed


def test_rows_belong_to_the_longest_name() -> None:
    owners = {"y": "y", "y.codes": "z"}
    assert [owner_of(n, owners) for n in ("y.codes_intermediate", "y", "y.x", "ya")] == [
        "z", "y", "y", None,
    ]  # fmt: skip


def test_rank_correlation_shares_ranks() -> None:
    assert spearman([1, 2, 3], [10, 20, 90]) == pytest.approx(1)
    assert spearman([1, 2, 3], [3, 2, 1]) == pytest.approx(-1)
    # 90 over the root of 10000, and not a bit less
    ours, theirs = [9, 5, 2, 5, 2, 5, 2, 5, 2, 3, 1], [9, 5, 2, 5, 2, 5, 2, 5, 2, 7, 1]
    assert spearman(ours, theirs) >= 0.9
    # ranks 1, 2.5, 2.5 against 1, 2, 3
    assert spearman([0, 5, 5], [1, 2, 3]) == pytest.approx(np.sqrt(3) / 2)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'deployq\[ethos-u\]'"):
        compile_by_vela(b"", U55)


def test_a_profile_without_an_accelerator_is_refused() -> None:
    with pytest.raises(InputError, match="accelerator-config"):
        compile_by_vela(b"", load_profile("litert-ref"))


def test_a_refused_file_has_vela_s_last_words() -> None:
    with pytest.raises(InputError, match="GraphAPI"):
        compile_by_vela(b"no file of this kind", U55)


def test_a_death_without_words_has_its_exit_code(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    script = tmp_path / "python"
    script.write_text("#!/bin/sh\nkill -9 $$\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    with pytest.raises(InputError, match="exit code -9"):
        compile_by_vela(content(), U55)


def test_an_end_without_a_summary_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    script = tmp_path / "python"
    script.write_text("#!/bin/sh\nexit 0\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    with pytest.raises(InputError, match="no summary"):
        compile_by_vela(content(), U55)


def test_a_time_limit_stops_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    script = tmp_path / "python"
    script.write_text("#!/bin/sh\nexec sleep 60\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    with pytest.raises(InputError, match=r"within 0\.1 seconds"):
        compile_by_vela(content(), U55, seconds=0.1)


def test_other_columns_are_refused_with_the_version() -> None:
    with pytest.raises(InputError, match=r"Vela 9\.0: 'accelerator_configuration'"):
        read_report({}, [], "9.0")
