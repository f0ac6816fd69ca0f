"""The folder and the command: files, manifest, sameness, refusals."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

import deployq
from deployq.bundle import read_bundle
from deployq.errors import InputError, UnsupportedError
from deployq.qgraph import read_graph
from tests.commands import Ran, run_command
from tests.golden_vectors.programs import needs_gcc, reals, sanitized
from tests.qgraph.texts import model, qdq

CONV = "wd = DequantizeLinear(w, sw)\nv = Conv(xd, wd)"
FLOAT = "k = Sqrt(xd)\nkq = QuantizeLinear(k, sx, zx)\nkd = DequantizeLinear(kq, sx, zx)\n"
Run = Callable[..., Ran]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    return lambda *arguments: run_command(monkeypatch, capsys, "golden", *arguments)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    onnx.save(qdq(CONV), path)
    return path


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_every_file_is_in_the_manifest_and_none_names_a_path(run: Run, file: Path) -> None:
    folder = file.parent / "golden"
    out, _, code = run(file, "--target", "int8-npu", "-o", folder)
    assert code == 0 and "1 layers, 16 samples" in out and "gcc -std=c99" in out
    files = contents(folder)
    manifest = json.loads(files.pop("manifest.json"))
    assert {f["path"]: (f["size"], f["sha256"]) for f in manifest["files"]} == {
        name: (len(data), hashlib.sha256(data).hexdigest()) for name, data in files.items()
    }
    assert not any(str(file.parent).encode() in data for data in contents(folder).values())
    (layer,) = manifest["facts"]["golden"]["layers"]
    assert set(layer["images"]) | {layer["arrays"], "c/golden.c", "c/golden.h"} == set(files)


def test_the_arrays_are_the_layers_integers(run: Run, file: Path) -> None:
    folder, x = file.parent / "golden", reals((2, 3, 8, 8))
    np.savez(file.parent / "x.npz", x=x)
    arguments = (file, "-t", "ort-cpu", "-o", folder, "-i", file.parent / "x.npz", "--json")
    out, err, code = run(*arguments)
    facts = json.loads(out)
    assert (code, facts["target"], facts["samples"]) == (0, "ort-cpu", 2) and "error" not in err
    arrays = np.load(folder / "npz/000_Conv.npz", allow_pickle=False)
    node = read_graph(onnx.load(file)).nodes[1]
    np.testing.assert_array_equal(arrays["weight"], node.weight)  # type: ignore[attr-defined] # Linear
    simulation = deployq.simulate(file, {"x": x}, "ort-cpu")
    np.testing.assert_array_equal(arrays["data/input0"], simulation.codes["xq"])
    np.testing.assert_array_equal(arrays["data/output"], simulation.codes["yq"])
    centred = arrays["data/input0"].astype(np.int64) - arrays["input0_zero_point"]
    sums = np.einsum("nchw,oc->nohw", centred, arrays["weight"][:, :, 0, 0].astype(np.int64))
    np.testing.assert_array_equal(arrays["data/sum"], sums)
    real = arrays["multiplier"] * 2.0 ** -arrays["shift"].astype(np.float64)
    assert real.tolist() == [0.5 * 0.125 / 0.25] and arrays["weight"].dtype == np.int8


@needs_gcc
def test_two_folders_have_the_same_bytes_and_the_program_runs(file: Path) -> None:
    first, second = file.parent / "a", file.parent / "deep/er/b"
    for folder in (first, second):
        deployq.export_golden(file, folder, "lowbit-vlsi", samples=3)
    assert contents(first) == contents(second)
    assert sanitized(second)[0] == 0


def test_a_bundle_brings_target_and_samples(bundles: Callable[[str], Path], tmp_path: Path) -> None:
    bundle = bundles("int4-npu")
    made = deployq.export_golden(bundle, tmp_path / "golden", samples=2)
    own = np.load(bundle / "golden.npz")
    arrays = np.load(tmp_path / "golden/npz/000_Conv.npz")
    assert made.facts["golden"]["target"] == "int4-npu"  # type: ignore[index,call-overload] # JSON
    np.testing.assert_array_equal(arrays["data/output"], own["codes/stem.codes"][:2])
    with pytest.raises(InputError, match=r"(?s)golden vectors replace golden.*found: a bundle"):
        deployq.export_golden(bundle, bundle)
    with pytest.raises(InputError, match="a path inside the bundle"):
        deployq.export_golden(bundle, bundle / "golden")
    read_bundle(bundle)


def test_older_vectors_are_replaced_whole_or_not_at_all(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = file.parent / "golden"
    deployq.export_golden(file, folder, "int8-npu")
    old = contents(folder)

    def broken(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("deployq_exporters.golden.folder.program_text", broken)
        with pytest.raises(InputError, match="No space left"):
            deployq.export_golden(file, folder, "ort-cpu")
    assert contents(folder) == old
    deployq.export_golden(file, folder, "ort-cpu")
    assert contents(folder) != old


def test_operators_in_float_are_listed(run: Run, file: Path) -> None:
    onnx.save(qdq(FLOAT + CONV.replace("xd", "kd")), file)
    out, _, code = run(file, "-t", "ort-cpu", "-o", file.parent / "golden")
    assert code == 0 and "float: k, no vectors" in out and "1 layers" in out


@needs_gcc
def test_a_gate_that_the_contract_joins_is_one_table(file: Path) -> None:
    folder, gate = file.parent / "golden", FLOAT.replace("Sqrt", "Sigmoid")
    unsigned = {"zx": np.uint8(9), "zy": np.uint8(7)}
    made = deployq.export_golden(qdq(f"{gate}v = Mul(xd, kd)", **unsigned), folder, "qnn-htp")
    assert [layer["op"] for layer in made.facts["golden"]["layers"]] == ["Sigmoid", "Swish"]
    assert sanitized(folder)[0] == 0


def test_a_fixed_batch_is_run_whole(file: Path) -> None:
    onnx.save(qdq(CONV, shape="2,3,8,8"), file)
    deployq.export_golden(file, file.parent / "golden", "int8-npu")
    arrays = np.load(file.parent / "golden/npz/000_Conv.npz")
    assert arrays["data/input0"].shape == (2, 3, 8, 8)
    with pytest.raises(InputError, match="a file with a fixed batch runs on one batch"):
        deployq.export_golden(file, file.parent / "golden", "int8-npu", samples=1)


@pytest.mark.parametrize(
    ("body", "constants", "arguments", "text"),
    [
        (CONV, {}, (), "a file says nothing of the arithmetic: name a target"),
        (CONV, {}, ("-t", "qnn-htp", "--samples", "17"), "cannot take more samples"),
        ("v = Mul(xd, xd)", {"zx": np.uint16(3)}, ("-t", "qnn-htp"), "hold sums and products of"),
        ("v = Softmax <axis = -1> (xd)", {"zx": np.uint16(3), "zy": np.uint16(0)},
         ("-t", "ort-cpu"), "node v (Softmax), Softmax: a Softmax is written in integers"),
        ("v = Softmax <axis = -1> (xd)", {}, ("-t", "lowbit-vlsi"),
         "node v (Softmax), Softmax: the program in C computes what a row is divided by"),
        ("v = LayerNormalization(xd, one)", {"one": np.ones(8, np.float32)}, ("-t", "lowbit-vlsi"),
         "found: normalization = integer"),
        (CONV, {"sx": np.float32(1e-36), "sy": np.float32(1e-3)}, ("-t", "ort-cpu"),
         "node v (Conv), scales: the steps of a float32 kernel"),
    ],
    ids=["target", "samples", "wide lanes", "wide softmax", "integer shares", "integer rows",
         "tiny scale"],
)  # fmt: skip
def test_what_cannot_run_is_named(
    run: Run, file: Path, body: str, constants: dict[str, object], arguments: tuple[str, ...],
    text: str,
) -> None:  # fmt: skip
    onnx.save(qdq(body, opset=21, **constants), file)
    _, err, code = run(file, "-o", file.parent / "golden", *arguments)
    assert code == 2 and text in err and "Traceback" not in err
    assert not (file.parent / "golden").exists()


def test_a_file_without_integers_and_one_without_sizes(file: Path) -> None:
    plain = model("g (float[1,4] x) => (float[1,4] y) { y = Sqrt(x) }")
    with pytest.raises(UnsupportedError, match="no operator with integer tensors"):
        deployq.export_golden(plain, file.parent / "a", "ort-cpu")
    unread = model("""g (float[1,4] x) => (float[1,4] y) {
        root = Sqrt(x)
        q = QuantizeLinear(root, sx, zx)
        t = Transpose(q)
        y = DequantizeLinear(t, sx, zx)
    }""")
    with pytest.raises(InputError, match=r"(?s)input x: random codes.*--input data.npz"):
        deployq.export_golden(unread, file.parent / "a", "ort-cpu")
    deployq.export_golden(unread, file.parent / "a", "ort-cpu", {"x": reals((1, 4), 0)})
    with pytest.raises(InputError, match="random codes need an input of known size"):
        deployq.export_golden(qdq(CONV, shape="N,3,H,W"), file.parent / "a", "ort-cpu")
