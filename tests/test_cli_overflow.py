"""``deployq overflow`` as a user has it: table, JSON, witnesses on disk, exit codes."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import deployq
from deployq.arithmetic.intervals import Interval
from deployq.bundle import read_bundle
from deployq.npz import load_arrays
from tests.commands import Ran, run_command
from tests.qgraph.texts import model, qdq
from tests.simulator.nets import reals, small_net

DATA = Path(os.environ.get("DEPLOYQ_DATA", Path(__file__).parents[2] / "shared" / "data"))
FILES = sorted((DATA / "onnx_thirdparty/ort_testdata").glob("*.onnx"))
STORED = Path(__file__).parent / "fixtures/bundles/v4"
NARROW = """schema = 1
name = "narrow"
summary = "ONNX Runtime with 19 bits"
extends = "ort-cpu"
[accumulator]
bits = 19
[bias]
signed_bits_max = 32
"""
LAYERS, CHANNELS = 4, 16 + 16 + 8 + 40
Run = Callable[..., Ran]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    return lambda *arguments: run_command(monkeypatch, capsys, "overflow", *arguments)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("overflow") / "net.onnx"
    net = small_net(17)
    shape = net.graph.output[0].type.tensor_type.shape
    shape.dim.add().dim_param, shape.dim.add().dim_value = "N", 40
    onnx.save(net, made)
    return made


@pytest.fixture(scope="module")
def narrow(path: Path) -> Path:
    path.with_name("narrow.toml").write_text(NARROW)
    return path.with_name("narrow.toml")


def test_a_file_that_fits(run: Run, path: Path) -> None:
    out, err, code = run(path, "--target", "ort-cpu")
    assert (code, err) == (0, "")
    assert "sums in 32 bits (wrap) of ort-cpu" in out
    assert f"{LAYERS} of {LAYERS} layers fit 32 bits; 0 of {CHANNELS} channels do not" in out
    assert "bounds hold for every size" not in out


def test_a_file_that_does_not(run: Run, path: Path, narrow: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=reals(20))
    arguments = path, "--target", narrow, "--input", tmp_path / "x.npz", "--json"
    out, err, code = run(*arguments, "--witness", tmp_path / "found")
    facts = json.loads(out)
    assert (code, err, facts["fits"], facts["samples"]) == (1, "", False, 20)
    assert facts["accumulator"] == {"bits": 19, "overflow": "wrap"}
    channels = [channel for layer in facts["layers"] for channel in layer["channels"]]
    assert len(channels) == CHANNELS
    for channel in channels:
        worst, seen, partial = (
            Interval(*channel[key]["range"]) for key in ("worst", "seen", "any_order")
        )
        assert partial.hull(worst) == partial and worst.hull(seen) == worst
        assert channel["fits"] == (channel["worst"]["bits"] <= 19)
        assert channel["fits"] or channel["weights"] > channel["most_weight"]
    failing = [channel for channel in channels if not channel["fits"]]
    assert len(failing) <= len(facts["witnesses"]) <= 2 * len(failing)
    assert all(w["bound"] == w["reached"] for w in facts["witnesses"])
    lines = run(*arguments[:-1])[0]
    assert f"{len(failing)} of {CHANNELS} channels do not" in lines
    assert "bits that hold the sums of 20 samples:" in lines and "overflows" in lines


def test_witnesses_on_disk(run: Run, path: Path, narrow: Path, tmp_path: Path) -> None:
    folder = tmp_path / "found"
    out = run(path, "--target", narrow, "--witness", folder, "--witness-all")[0]
    proof = deployq.prove_accumulators(path, narrow)
    listed: Any = read_bundle(folder).facts["witnesses"]
    assert f"witnesses: {len(listed)}, {len(listed)} of them reach their bound" in out
    assert {fact["layer"] for fact in listed} == {layer.name for layer in proof.layers}
    shapes = {layer.name: layer.shapes for layer in proof.layers}
    for fact in listed:
        arrays = load_arrays(folder / fact["file"], skip_text=True)
        (name,) = (name for name in arrays if name.startswith("codes/"))
        stored = {key: arrays[key].tolist() for key in ("channel", "position", "sum")}
        assert stored == {key: fact[key] for key in ("channel", "position")} | {
            "sum": fact["bound"]
        }
        assert arrays[name].dtype == np.uint8
        assert shapes[fact["layer"]] == {name.removeprefix("codes/"): arrays[name].shape}
    before = (folder / "manifest.json").read_bytes()
    run(path, "--target", narrow, "--witness", folder, "--witness-all")
    assert (folder / "manifest.json").read_bytes() == before
    run(path, "--target", "ort-cpu", "--witness", folder)
    assert sorted(p.name for p in folder.iterdir()) == ["manifest.json"]


def test_a_failed_write_leaves_the_old_witnesses(
    run: Run, path: Path, narrow: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "found"
    run(path, "--target", narrow, "--witness", folder)
    before = {file.name: file.read_bytes() for file in folder.iterdir()}

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", full)
    _, err, code = run(path, "--target", narrow, "--witness", folder)
    assert code == 2 and "No space left" in err
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["found"]


def test_a_bundle_has_a_target_and_is_never_replaced(run: Run, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(STORED, bundle)
    out, _, code = run(bundle)
    assert code == 0 and "bundle on int4-npu: 3 of 3 layers fit 32 bits" in out
    _, err, code = run(bundle, "--witness", bundle)
    assert code == 2 and "only a folder of witnesses or an empty one is replaced" in err
    read_bundle(bundle)


def test_sizes_that_the_file_leaves_free(run: Run, tmp_path: Path) -> None:
    conv = "wd = DequantizeLinear(w, sw, zw)\nv = Conv(xd, wd)"
    onnx.save(qdq(conv, shape="N,3,H,W"), tmp_path / "free.onnx")
    out, _, code = run(tmp_path / "free.onnx", "--target", "ort-cpu")
    assert code == 0 and "bounds hold for every size" in out
    onnx.save(qdq("v = MatMul(xd, xd)", shape="N,M,M", out="A,B,C"), tmp_path / "product.onnx")
    out, _, code = run(tmp_path / "product.onnx", "--target", "ort-cpu")
    assert code == 1 and "0 of 1 layers fit 32 bits, 1 are unknown" in out


def test_a_file_for_one_sample_takes_many_one_by_one(run: Run, tmp_path: Path) -> None:
    body = "wd = DequantizeLinear(m, sw, zw)\nr = Reshape(xd, s)\nv = MatMul(r, wd)"
    onnx.save(qdq(body, shape="1,3,1,1", out="1,4", s=np.int64([1, 3])), tmp_path / "one.onnx")
    np.savez(tmp_path / "x.npz", x=np.zeros((3, 3, 1, 1), np.float32))
    arguments = tmp_path / "one.onnx", "--target", "ort-cpu", "--input", tmp_path / "x.npz"
    facts = json.loads(run(*arguments, "--json")[0])
    (layer,) = facts["layers"]
    assert (facts["samples"], layer["seen_bits"]) == (3, 1)  # real zeros sum to 0
    assert list(layer["shapes"].values()) == [[1, 3]]


def test_a_sample_says_how_large_a_map_is(run: Run, tmp_path: Path) -> None:
    conv = "wd = DequantizeLinear(w, sw, zw)\nv = Conv(xd, wd)"
    onnx.save(qdq(conv, shape="N,3,H,W"), tmp_path / "free.onnx")
    np.savez(tmp_path / "x.npz", x=np.zeros((2, 3, 5, 6), np.float32))
    arguments = tmp_path / "free.onnx", "--target", "ort-cpu", "--input", tmp_path / "x.npz"
    (layer,) = json.loads(run(*arguments, "--json")[0])["layers"]
    assert layer["shapes"] == {"xq": [1, 3, 5, 6]} and not layer["assumed_shapes"]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("missing.onnx", "--target", "ort-cpu"), "missing.onnx"),
        (("net.onnx",), "a file says nothing of the arithmetic: name a target"),
        (("net.onnx", "--target", "nix"), "nix"),
        (("net.onnx", "--target", "ort-cpu", "--input", "net.onnx"), "net.onnx"),
        (("float.onnx", "--target", "ort-cpu"), "a proof needs a Conv, ConvTranspose, Gemm"),
    ],
)
def test_what_cannot_run(
    arguments: tuple[str, ...], text: str, run: Run, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(path.parent)
    text_of_float = "g (float[N,3] x) => (float[N,3] y) { y = Exp(x) }"
    onnx.save(model(text_of_float), "float.onnx")
    _, err, code = run(*arguments)
    assert code == 2 and text in err and "Traceback" not in err


@pytest.mark.skipif(not FILES, reason="the third-party models are not here; set DEPLOYQ_DATA")
def test_files_of_other_tools_are_proven_or_refused(run: Run) -> None:
    for file in FILES:
        out, err, code = run(file, "--target", "int8-npu", "--json")
        if code == 2:
            assert "a proof needs" in err or "onnx.checker refuses" in err, file
            continue
        facts = json.loads(out)
        assert facts["fits"] == (code == 0) and all(layer["channels"] for layer in facts["layers"])
