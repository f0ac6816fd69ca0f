"""The benchmark of the latency model at trial size: its rows, its limits, its exit code."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks import latency_model as benchmark
from benchmarks.latency_match import Match, Pair, matched
from deployq.data import Dataset
from deployq.errors import UnsupportedError
from deployq_exporters.runtimes import ethos_u
from deployq_exporters.runtimes.vela_report import VelaCycles, VelaLayer, VelaReport
from deployq_targets.latency_model import Bound, ModelledLatency, ModelledLayer

TARGET = "ethos-u55-256"
NEEDS_VELA = pytest.mark.skipif(not ethos_u.installed(), reason="no package ethos-u-vela")


def tiny() -> nn.Module:
    """Three convolutions of different sizes."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, stride=2, padding=1),
        nn.ReLU(), nn.Conv2d(32, 8, 1),
    ).eval()  # fmt: skip


def images() -> Dataset:
    pixels = np.random.default_rng(0).normal(size=(4, 3, 32, 32)).astype(np.float32)
    return Dataset({"x": pixels})


SUBJECT = benchmark.Subject("tiny", tiny, images)


def match(modelled: tuple[float, ...], vela: tuple[int, ...], *, ms: float = 1.0) -> Match:
    cycles = enumerate(zip(modelled, vela, strict=True))
    pairs = tuple(Pair(f"l{at}", ours, theirs, "compute") for at, (ours, theirs) in cycles)
    return Match("net", TARGET, pairs, (), (), ms, 1.0, "Vela")


def report(rows: list[VelaLayer]) -> VelaReport:
    nothing = VelaCycles(0, 0, 0, 0, 0)
    return VelaReport("5", "chip", "", "", 1.0, tuple(rows), (), nothing, 1.0, 0, 0, 0, 0)


def run(monkeypatch: pytest.MonkeyPatch, matches: list[Match], *flags: str) -> int:
    """The command with what it compares replaced."""
    monkeypatch.setattr(benchmark, "compare", lambda *_: iter(matches))
    monkeypatch.setattr(sys, "argv", ["latency_model", "--models", "kws_mlperf_dscnn", *flags])
    return benchmark.main()


@NEEDS_VELA
def test_a_network_is_prepared_once_and_compared_with_vela(tmp_path: Path) -> None:
    (found,) = benchmark.compare(SUBJECT, [TARGET], tmp_path)
    assert (found.network, found.target, len(found.pairs)) == ("tiny", TARGET, 3)
    assert (found.only_modelled, found.only_vela) == ((), ())
    assert found.vela_ms > 0 and "Vela" in found.assumed
    built = benchmark.bundle(SUBJECT, tmp_path)
    written = (built / "model.onnx").stat().st_mtime_ns
    assert (benchmark.bundle(SUBJECT, tmp_path) / "model.onnx").stat().st_mtime_ns == written


def modelled(name: str, total: float, **facts: Any) -> ModelledLayer:
    return ModelledLayer(
        name=name, operator="Conv", fused=(), macs=0, cycles={}, fill=0.0, total=total,
        milliseconds=total, bound=Bound.COMPUTE, weight_bytes=0.0, outside_bytes=0,
        **{"views": (), "joined": None} | facts,
    )  # fmt: skip


def vela_row(name: str, cycles: int, operator: str = "Conv2D") -> VelaLayer:
    return VelaLayer(name, operator, operator, VelaCycles(cycles, 0, 0, 0, cycles), 0)


def test_rows_are_matched_by_all_names_of_a_tensor() -> None:
    ours = [
        modelled("a", 1.0, views=("t",)), modelled("b", 2.0, joined="y"),
        modelled("c", 3.0, joined="y"), modelled("y", 4.0), modelled("s", 5.0), modelled("n", 6.0),
    ]  # fmt: skip
    rows = [
        vela_row("t", 10), vela_row("y", 20), vela_row("y", 30), vela_row("y", 40),
        vela_row("y_softmax_0", 50, "Softmax"), vela_row("s", 60, "Softmax"), vela_row("z", 70),
    ]  # fmt: skip
    found = matched("net", ModelledLatency("chip", 1, tuple(ours), (), ()), report(rows))
    assert [(p.name, p.modelled, p.vela) for p in found.pairs] == [
        ("a", 1, 10), ("y", 2 + 3 + 4, 20 + 30 + 40), ("s", 5, 50 + 60),
    ]  # fmt: skip
    assert (found.only_modelled, found.only_vela) == (("n",), ("z",))


def test_within_the_limits_the_command_ends_with_0(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = match((1.0, 2.0, 3.0), (10, 20, 30), ms=1.29)
    path = tmp_path / "facts.json"
    assert run(monkeypatch, [found], "--layers", "--json-out", str(path)) == 0
    facts = json.loads(path.read_text())
    assert (facts["misses"], facts["later"], facts["left_out"]) == ([], False, {})
    assert facts["rows"][0]["correlation"] == pytest.approx(1)
    assert "l2" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (match((1.0, 2.0, 3.0), (10, 30, 20)), "rank correlation 0.500, at least 0.9"),
        (match((1.0, 2.0), (10, 20), ms=0.69), "total 0.69 of Vela's, within 30%"),
        (match((1.0, 2.0), (10, 20), ms=1.31), "total 1.31 of Vela's, within 30%"),
    ],
)
def test_beyond_a_limit_it_ends_with_1_and_says_which(
    found: Match, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, [found]) == 1
    assert f"MISSED net, {TARGET}: {said}" in capsys.readouterr().out


def test_layers_that_cannot_be_ranked_are_a_miss(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, [match((1.0, 1.0), (10, 20))]) == 1


def test_what_tflite_cannot_say_is_listed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> list[Match]:
        raise UnsupportedError("Softmax", "it has\nan integer form", next_step="none")

    monkeypatch.setattr(benchmark, "compare", refuse)
    monkeypatch.setattr(sys, "argv", ["latency_model", "--models", "ultraface_rfb320"])
    assert benchmark.main() == 0
    assert "NOT COMPARED ultraface_rfb320: Softmax" in capsys.readouterr().out


def test_later_networks_are_chosen_by_name() -> None:
    with pytest.raises(SystemExit, match="resnet18: not one of mobilenetv2_035"):
        benchmark.later("resnet18")
