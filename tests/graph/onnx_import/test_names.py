"""Names: the file's own, as module paths, without clashes."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch import nn

from deployq.errors import InputError
from deployq.graph.onnx_import import import_onnx
from deployq.graph.onnx_import.names import Names, to_identifier, to_path
from tests.graph.onnx_import.files import assert_equal, names_of, node, outputs_of, random, write


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("/layer1/layer1.0/conv1/Conv", "layer1.layer1.0.conv1.Conv"),
        ("model/conv2d/BiasAdd:0", "model.conv2d.BiasAdd.0"),
        ("torch::linear 1", "torch.linear_1"),
        ("class", "class_"),
        ("net.train", "net.train_"),
        ("deployq.layers", "deployq_.layers"),
        ("größe", "gr__e"),
        ("//", "unnamed"),
        ("246", "246"),
    ],
)
def test_a_name_becomes_a_module_path(name: str, path: str) -> None:
    assert to_path(name) == path
    nn.Module().add_module(path.split(".")[-1], nn.Module())  # torch takes it


def test_a_long_name_stays_a_path_on_disk() -> None:
    path = to_path("/".join(["part" * 60] * 40))
    assert path.count(".") <= 49 and all(len(part) <= 200 for part in path.split("."))


@pytest.mark.parametrize(("name", "word"), [("input.1", "input_1"), ("0", "_0"), ("in", "in_")])
def test_an_input_becomes_an_argument(name: str, word: str) -> None:
    assert to_identifier(name) == word


def test_names_that_meet_get_a_number() -> None:
    names = Names()
    assert [names.call("a/b"), names.call("a.b"), names.call("a__b")] == ["a.b", "a.b_1", "a__b_2"]
    assert [
        names.norm("bn"),
        names.tensor("bn.weight"),
        names.tensor("w"),
        names.tensor("w.x"),
    ] == [
        "bn",
        "bn_weight",
        "w",
        "w_x",
    ]


def test_nodes_are_named_after_themselves_or_their_outputs(tmp_path: Path) -> None:
    nodes = [
        node("Conv", "in.1 fc.weight", "c", name="/fc/Conv", pads=[0, 0, 1, 1]),
        node("Relu", "c", "246"),
        node("Sigmoid", "246", "y", name="fc"),
    ]
    path = write(tmp_path, nodes, {"fc.weight": random(4, 3, 3, 3)}, inputs=("in.1",))
    graph = assert_equal(path, random(3, 3, 8, 8))
    assert names_of(graph) == ["fc.Conv.pad", "fc.Conv", "246", "fc"]
    assert [n for n, _ in graph.named_parameters()] == ["fc.weight"]
    assert [n.target for n in graph.graph.nodes if n.op == "placeholder"] == ["in_1"]


def test_normalizations_of_shared_statistics_own_theirs(tmp_path: Path) -> None:
    shared = {f"bn.{leaf}": random(3) ** 2 for leaf in ("weight", "bias")}
    shared |= {f"bn.running_{leaf}": random(3) ** 2 for leaf in ("mean", "var")}
    first = node("BatchNormalization", " ".join(["x", *shared]), "a")
    second = node("BatchNormalization", " ".join(["a", *shared]), name="again")
    path = write(tmp_path, [first, second, node("Mul", "y bn.weight", "z")], shared,
                 shape=("N", 4, 3, 3), outputs=("z",))  # fmt: skip
    with pytest.raises(Exception, match="BatchNormalization"):  # four channels, three statistics
        import_onnx(path)
    path = write(tmp_path, [first, second, node("Mul", "y bn.weight", "z")], shared,
                 shape=("N", 3, 3, 3), outputs=("z",))  # fmt: skip
    graph = assert_equal(path, random(3, 3, 3, 3))
    assert {n.rpartition(".")[0] for n, _ in graph.named_buffers()} >= {"bn", "bn_1"}


def test_free_dimensions_come_from_the_data(tmp_path: Path) -> None:
    path = write(tmp_path, [node("GlobalMaxPool", "x")], {}, shape=("N", 3, "H", "W"))
    graph = import_onnx(path, lambda: {"x": (2, 3, 6, 5)})
    assert outputs_of(graph, random(3, 3, 6, 5))[0].shape == (3, 3, 1, 1)
    with pytest.raises(InputError, match=r"(?s)input x: .*leaves open.*no array.*next: add x"):
        import_onnx(path)
