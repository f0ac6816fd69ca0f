"""Bad files and profiles: each command says what is wrong and exits 2, and writes nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from tests.commands import run_command
from tests.qgraph.texts import qdq

LAYER = "wd = DequantizeLinear(w, sw, zw)\nv = Conv(xd, wd)"
Model = Callable[[], onnx.ModelProto]


def changed(change: Callable[[onnx.ModelProto], object], **constants: Any) -> Model:
    def make() -> onnx.ModelProto:
        made = qdq(LAYER, **constants)
        change(made)
        return made

    return make


def tensor(model: onnx.ModelProto, name: str) -> TensorProto:
    return next(t for t in model.graph.initializer if t.name == name)


def stored(name: str, value: Any) -> Model:
    """The layer with another constant; the file is not checked when it is made."""
    return changed(lambda m: tensor(m, name).CopyFrom(numpy_helper.from_array(value, name)))


def elsewhere(location: str) -> Model:
    def move(model: onnx.ModelProto) -> None:
        weight = tensor(model, "w")
        weight.ClearField("raw_data")
        weight.data_location = TensorProto.EXTERNAL
        weight.external_data.add(key="location", value=location)

    return changed(move)


def node(model: onnx.ModelProto, output: str) -> onnx.NodeProto:
    return next(n for n in model.graph.node if output in n.output)


def cycle(model: onnx.ModelProto) -> None:
    node(model, "xq").input[0] = "v"


def unsorted(model: onnx.ModelProto) -> None:
    model.graph.node.insert(0, model.graph.node.pop())


def opset(version: int) -> Model:
    return changed(lambda m: setattr(m.opset_import[0], "version", version))


def other_operator(model: onnx.ModelProto) -> None:
    node(model, "v").domain, node(model, "v").name = "own", "strange"
    model.opset_import.add(domain="own", version=1)


FILES: dict[str, tuple[bytes | Model, str]] = {
    "truncated": (qdq(LAYER).SerializeToString()[:-40], "the file is not an ONNX model"),
    "text": (b"name,label\n0.png,7\n", "the file is not an ONNX model"),
    "data missing": (elsewhere("w.bin"), "the external data file is missing"),
    "data outside": (elsewhere("../w.bin"), "external data lies in the model's own folder"),
    "scale NaN": (stored("sw", np.float32(np.nan)), "scales are positive and finite"),
    "scale zero": (stored("sx", np.float32(0)), "scales are positive and finite"),
    "scale negative": (stored("sy", np.float32(-1)), "scales are positive and finite"),
    "scale infinite": (stored("sy", np.float32(np.inf)), "scales are positive and finite"),
    "zero point of another type": (stored("zw", np.uint8(0)), "node name: wd): x_zero_point"),
    "zero point in float": (stored("zx", np.float32(3)), "node name: xq): y_zero_point"),
    "channels": (stored("w", np.zeros((4, 5, 1, 1), np.int8)), "weights (4, 5, 1, 1), 3 input"),
    "rank": (stored("w", np.zeros((4, 3, 1), np.int8)), "shapes and types that fit"),
    "data too short": (changed(lambda m: tensor(m, "w").dims.insert(0, 1 << 40)), "name: w"),
    "cycle": (changed(cycle), "no tensor follows from itself"),
    "unsorted": (changed(unsorted), "node y (DequantizeLinear), input 0: a node reads tensors"),
    "opset of tomorrow": (opset(99), "7 to 26"),
    "opset of old": (opset(6), "QuantizeLinear with domain_version of 6"),
    "unknown operator": (changed(other_operator), "node strange (own::Conv)"),
}  # fmt: skip
COMMANDS = {
    "check": ("--target", "int8-npu", "--json"),
    "inspect": (),
    "simulate": ("--input", "x.npz", "--target", "ort-cpu", "-o", "codes.npz"),
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("name", FILES)
def test_a_bad_file(
    name: str, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    made, text = FILES[name]
    monkeypatch.chdir(tmp_path)
    np.savez("x.npz", x=np.zeros((1, 3, 8, 8), np.float32))
    Path("model.onnx").write_bytes(made if isinstance(made, bytes) else made().SerializeToString())
    before = sorted(tmp_path.iterdir())
    _, err, code = run_command(monkeypatch, capsys, command, "model.onnx", *COMMANDS[command])
    assert (code, text in err) == (2, True), err
    assert "Traceback" not in err and sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("command", ["check", "simulate"])
def test_a_profile_that_contradicts_itself(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    onnx.save(qdq(LAYER), "model.onnx")
    np.savez("x.npz", x=np.zeros((1, 3, 8, 8), np.float32))
    head = 'schema = 1\nname = "mine"\nsummary = "x"\nextends = "int8-npu"\n'
    Path("mine.toml").write_text(f"{head}[accumulator]\nbits = 12\n")
    arguments = [*COMMANDS[command], "--target", "mine.toml"]
    _, err, code = run_command(monkeypatch, capsys, command, "model.onnx", *arguments)
    assert code == 2 and "mine.toml: accumulator.bits" in err and "Traceback" not in err
    assert not Path("codes.npz").exists()


def test_a_sample_that_no_memory_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(qdq(LAYER, shape="N,3,1048576,1048576"), path)
    _, err, code = run_command(monkeypatch, capsys, "inspect", path)
    assert code == 2 and "a tensor has a size that can be meant" in err


@pytest.mark.parametrize(("body", "text"), [
    ("v = Pad(xd, pads)", "node v (Pad), output: a tensor has a size"),
    ("v = MaxPool <kernel_shape = [99999999, 1], pads = [99999998, 0, 99999998, 0]> (xd)",
     "node v (MaxPool), padded operand: a tensor has a size"),
    ("e = Expand(xd, pads)\nv = Erf(e)", "node e (Expand): a tensor has a size"),
])  # fmt: skip
def test_a_result_that_no_memory_holds(
    body: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    pads = [0, 0, 1, 0, 0, 0, 0, 10**8] if "Pad" in body else [1, 10**9, 1, 1, 1]
    onnx.save(qdq(body, pads=np.int64(pads), shape="N,1,8,8"), "model.onnx")
    np.savez("x.npz", x=np.zeros((1, 1, 8, 8), np.float32))
    _, err, code = run_command(monkeypatch, capsys, "simulate", "model.onnx", *COMMANDS["simulate"])
    assert (code, text in err) == (2, True), err
