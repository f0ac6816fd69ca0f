"""ONNX files are parsed and completed only from their own folder."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from deployq.errors import InputError, UnsafeFileError
from deployq.graph.onnx_guard import load_onnx

W = np.arange(6, dtype=np.float32)


def external(location: str, name: str = "w", **facts: object) -> TensorProto:
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[6])
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **facts}.items():
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def model(
    path: Path, weight: TensorProto, edit: Callable[[onnx.ModelProto], None] | None = None
) -> Path:
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n", 6]) for n in "xy")
    graph = helper.make_graph([helper.make_node("Add", ["x", "w"], ["y"])], "g", [x], [y], [weight])
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    if edit:
        edit(proto)
    path.write_bytes(proto.SerializeToString())
    return path


def weight_of(proto: onnx.ModelProto) -> list[float]:
    return list(numpy_helper.to_array(proto.graph.initializer[0]))


def test_a_plain_model_is_read(tmp_path: Path) -> None:
    assert weight_of(load_onnx(model(tmp_path / "m.onnx", numpy_helper.from_array(W, "w"))))[5] == 5


@pytest.mark.parametrize("location", ["w.bin", "sub/w.bin"])
@pytest.mark.parametrize("relative", [False, True])
def test_external_data_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, location: str, relative: bool
) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / location).write_bytes(b"skip" + W.tobytes())
    path = model(tmp_path / "m.onnx", external(location, offset=4, length=24))
    monkeypatch.chdir(tmp_path if relative else "/")
    assert weight_of(load_onnx(Path("m.onnx") if relative else path)) == list(W)


@pytest.mark.parametrize(
    "location",
    [
        "../secret",
        "sub/../../secret",
        "/etc/passwd",
        "C:/secret",
        "..\\secret",
        "",
        "a\nb",
    ],
)
def test_locations_outside_the_folder(tmp_path: Path, location: str) -> None:
    (tmp_path / "secret").write_bytes(W.tobytes())
    (tmp_path / "net").mkdir()
    with pytest.raises(UnsafeFileError, match="model's own folder"):
        load_onnx(model(tmp_path / "net" / "m.onnx", external(location)))


@pytest.mark.parametrize("link", ["w.bin", "sub"])
def test_links_are_not_followed(tmp_path: Path, link: str) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "w.bin").write_bytes(W.tobytes())
    (tmp_path / "net").mkdir()
    target = tmp_path / "secret" / ("w.bin" if link == "w.bin" else "")
    (tmp_path / "net" / link).symlink_to(target)
    location = link if link == "w.bin" else "sub/w.bin"
    with pytest.raises(UnsafeFileError, match="symbolic link"):
        load_onnx(model(tmp_path / "net" / "m.onnx", external(location)))


def in_attribute(proto: onnx.ModelProto, tensor: TensorProto) -> None:
    proto.graph.node.append(helper.make_node("Constant", [], ["c"], value=tensor))


def in_tensors(proto: onnx.ModelProto, tensor: TensorProto) -> None:
    proto.graph.node[0].attribute.append(helper.make_attribute("ts", [tensor]))


def in_subgraph(proto: onnx.ModelProto, tensor: TensorProto) -> None:
    body = helper.make_graph([], "b", [], [], [tensor])
    proto.graph.node.append(helper.make_node("If", ["x"], ["z"], then_branch=body))


def in_sparse(proto: onnx.ModelProto, tensor: TensorProto) -> None:
    proto.graph.sparse_initializer.add().values.CopyFrom(tensor)


def in_function(proto: onnx.ModelProto, tensor: TensorProto) -> None:
    node = helper.make_node("Constant", [], ["c"], value=tensor)
    proto.functions.add(name="f", domain="d").node.append(node)


def in_training(proto: onnx.ModelProto, tensor: TensorProto) -> None:
    proto.training_info.add().algorithm.initializer.append(tensor)


@pytest.mark.parametrize(
    "place", [in_attribute, in_tensors, in_subgraph, in_sparse, in_function, in_training]
)
def test_tensors_are_found_everywhere(
    tmp_path: Path, place: Callable[[onnx.ModelProto, TensorProto], None]
) -> None:
    path = model(
        tmp_path / "m.onnx",
        numpy_helper.from_array(W, "w"),
        lambda proto: place(proto, external("../secret", "hidden")),
    )
    with pytest.raises(UnsafeFileError, match="'hidden'"):
        load_onnx(path)


@pytest.mark.parametrize(
    ("facts", "found"),
    [
        ({"offset": 4}, None),
        ({"offset": 1, "length": 24}, "offset 1, length 24"),
        ({"offset": 25}, "offset 25"),
        ({"length": "-1"}, "'-1'"),
        ({"offset": "x"}, "'x'"),
        ({"length": "9" * 5000}, "'999"),
        ({"offset": "\u0662"}, "\u0662"),
    ],
)
def test_bounds(tmp_path: Path, facts: dict[str, object], found: str | None) -> None:
    (tmp_path / "w.bin").write_bytes(W.tobytes())
    path = model(tmp_path / "m.onnx", external("w.bin", **facts))
    if found is None:
        assert len(load_onnx(path).graph.initializer[0].raw_data) == 20
        return
    with pytest.raises(InputError, match=found):
        load_onnx(path)


def test_missing_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read the model"):
        load_onnx(tmp_path / "none.onnx")
    with pytest.raises(InputError, match="data file is missing"):
        load_onnx(model(tmp_path / "m.onnx", external("none.bin")))


@pytest.mark.parametrize("data", [b"\x80\x04N.", b"PK\x03\x04 no model", b"\xff" * 99])
def test_files_that_are_no_protobuf(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "m.onnx").write_bytes(data)
    with pytest.raises(InputError, match="not an ONNX model"):
        load_onnx(tmp_path / "m.onnx")


def test_the_checker_refuses(tmp_path: Path) -> None:
    def break_it(proto: onnx.ModelProto) -> None:
        proto.graph.node[0].op_type = "NoSuchOp"

    path = model(tmp_path / "m.onnx", numpy_helper.from_array(W, "w"), break_it)
    with pytest.raises(InputError, match=r"onnx.checker refuses(.|\n)*NoSuchOp"):
        load_onnx(path)
    (tmp_path / "empty.onnx").write_bytes(b"")
    with pytest.raises(InputError, match=r"onnx.checker refuses"):
        load_onnx(tmp_path / "empty.onnx")


def test_a_second_name_of_a_file_is_refused_by_onnx(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(W.tobytes())
    os.link(tmp_path / "secret", tmp_path / "w.bin")
    with pytest.raises(InputError):
        load_onnx(model(tmp_path / "m.onnx", external("w.bin")))


def test_a_file_that_changes_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tmp_path / "w.bin"
    data.write_bytes(W.tobytes())
    monkeypatch.setattr(onnx.checker, "check_model", lambda _: data.write_bytes(b""))
    with pytest.raises(InputError, match="cannot be read"):
        load_onnx(model(tmp_path / "m.onnx", external("w.bin", length=24)))
