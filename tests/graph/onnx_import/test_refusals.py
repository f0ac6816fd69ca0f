"""Files and nodes that are not imported: each error names the node, the rule and the next step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from deployq.errors import DeployqError, InputError, UnsupportedError
from deployq.graph.onnx_import import import_onnx
from tests.graph.onnx_import.files import assert_equal, ints, node, random, write

F32 = np.float32


def case(text: str, kind: str, inputs: str = "x", opset: int = 18, **rest: Any) -> Any:
    constants = {k: v for k, v in rest.items() if isinstance(v, (np.ndarray, np.generic))}
    attributes = {k: v for k, v in rest.items() if k not in constants}
    return pytest.param(kind, inputs, opset, constants, attributes, text, id=f"{kind} {text[:20]}")


SIGNAL = "give one-dimensional signals"
CASES = [
    case("write the pads as numbers", "ConvTranspose", "x w", w=random(3, 3, 3, 3),
         auto_pad="SAME_UPPER"),
    case("write the pads as numbers", "ConvTranspose", "x w", w=random(3, 3, 3, 3),
         output_shape=[9, 9]),
    case("one a channel", "PRelu", "x s", s=random(8)),
    case("Pad before the AveragePool", "AveragePool", kernel_shape=[3, 3], pads=[0, 0, 1, 1]),
    case("neighbours", "AveragePool", opset=19, kernel_shape=[2, 2], dilations=[2, 2]),
    case("Squeeze states its axes", "Squeeze"),
    case("runs forwards", "Slice", "x s e a t", s=ints(-1), e=ints(-9), a=ints(2), t=ints(-1)),
    case("rise in even steps", "Gather", "x i", i=ints(0, 2, 1), axis=1),
    case("does not filter", "Resize", "x - s", s=np.array([1, 1, 0.5, 0.5], F32), mode="linear",
         antialias=1),
    case("bilinear as in torch", "Resize", "x - s", s=np.array([1, 1, 2, 2], F32), mode="cubic"),
    case("bilinear as in torch", "Upsample", "x s", opset=9, s=np.array([1, 1, 2, 2], F32),
         mode="linear"),
    case("rounding down takes", "Resize", "x - s", s=np.array([1, 1, 0.6, 2], F32)),
    case("rows and columns", "Resize", "x - s", s=np.array([1, 2, 1, 1], F32)),
    case("activations are float32", "Cast", to=TensorProto.FLOAT16),
    case("reflect pads rows", "Pad", "x p", p=ints(0, 1, 0, 0, 0, 0, 0, 0), mode="reflect"),
    case("weights are float32", "Conv", "x w", w=random(3, 3, 1, 1).astype(np.float64)),
    case("does not raise the rank", "Add", "x c", c=random(1, 1, 1, 1, 1)),
    case("on a batch of any size", "Add", "x c", c=random(5, 1, 1)),
    case("shape of what is normalized", "LayerNormalization", "x s", s=random(1)),
    case("shape of what is normalized", "RMSNormalization", "x s", opset=23, s=random(1)),
    case("dropout is off", "Dropout", "x r t", r=F32(0.5), t=np.bool_(True)),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "inputs", "opset", "constants", "attributes", "text"), CASES)
def test_refuses_a_node(
    kind: str, inputs: str, opset: int, constants: Any, attributes: Any, text: str, tmp_path: Path
) -> None:
    refused = node(kind, inputs, name="the_node", **attributes)
    path = write(tmp_path, [refused], constants, opset=opset)
    with pytest.raises(UnsupportedError, match=text) as raised:
        import_onnx(path)
    assert raised.value.where == f"the_node ({kind}, domain ai.onnx, opset {opset})"
    assert raised.value.found and raised.value.allowed and raised.value.next_step


def test_signals_get_a_next_step(tmp_path: Path) -> None:
    path = write(tmp_path, [node("Conv", "x w")], {"w": random(4, 3, 3)}, shape=("N", 3, 8))
    with pytest.raises(UnsupportedError, match=r"(?s)rank 3.*\(N, C, 1, L\)"):
        import_onnx(path)


def test_all_unknown_operators_are_listed_at_once(tmp_path: Path) -> None:
    nodes = [
        node("LRN", "x", "a", name="first", size=3),
        node("LRN", "a", "b", size=3),
        node("Mish", "b", "c"),
        node("Fused", "c", domain="com.example", name="last"),
        node("Loop", "- - x", "unused"),  # nothing reads it
    ]
    path = write(tmp_path, nodes[:4], {}, shape=("N", 3, 8, 8))
    with pytest.raises(UnsupportedError) as raised:
        import_onnx(path)
    found = raised.value.found
    assert "ai.onnx.LRN x2 (first: first)" in found and "ai.onnx.Mish x1 (first: c)" in found
    assert "com.example.Fused x1 (first: last)" in found
    assert "opset 18" in raised.value.rule and "Conv" in raised.value.allowed
    assert "Linear" not in raised.value.allowed.split(", ")


def test_what_no_output_needs_may_be_unknown(tmp_path: Path) -> None:
    nodes = [node("Relu", "x"), node("LRN", "x", "unused", size=3)]
    assert_equal(write(tmp_path, nodes, {}), random(3, 3, 8, 8))


@pytest.mark.parametrize("kind", ["QuantizeLinear", "DynamicQuantizeLinear"])
def test_a_quantized_file_has_a_next_step(kind: str, tmp_path: Path) -> None:
    constants = {} if kind.startswith("Dynamic") else {"s": F32(0.1), "z": np.uint8(3)}
    outputs = "q s z" if kind.startswith("Dynamic") else "q"
    quantize = node(kind, " ".join(["x", *constants]), outputs)
    path = write(tmp_path, [quantize, node("DequantizeLinear", "q s z")], constants)
    with pytest.raises(InputError, match=r"(?s)quantized already.*Linear x1.*deployq simulate"):
        import_onnx(path)


@pytest.mark.parametrize("opset", [6, 27])
def test_refuses_an_unknown_opset(opset: int, tmp_path: Path) -> None:
    path = write(tmp_path, [node("Relu", "x")], {}, opset=18)
    model = onnx.load(path)
    model.opset_import[0].version = opset
    path.write_bytes(model.SerializeToString())
    with pytest.raises(UnsupportedError, match=rf"(?s)found: {opset}.*7 to 26.*convert_version"):
        import_onnx(path)


@pytest.mark.parametrize(
    ("shape", "kind", "found"),
    [((), TensorProto.FLOAT, "rank 0"), (("N", 3), TensorProto.FLOAT16, "type FLOAT16")],
)
def test_refuses_an_input_that_is_no_float_batch(
    shape: Any, kind: int, found: str, tmp_path: Path
) -> None:
    path = write(tmp_path, [node("Cast", "x", to=1)], {}, shape=shape, kind=kind)
    with pytest.raises(InputError, match=rf"(?s)input x: .*{found}.*next: "):
        import_onnx(path)


def test_refuses_statistics_that_are_computed(tmp_path: Path) -> None:
    constants = {name: random(3) for name in "sbv"}
    nodes = [node("ReduceMean", "x a", "m"), node("BatchNormalization", "x s b m v")]
    path = write(tmp_path, nodes, {**constants, "a": ints(0, 2, 3)})
    with pytest.raises(UnsupportedError, match=r"(?s)statistics are constants.*found: m"):
        import_onnx(path)


def test_refuses_a_read_mask_and_a_computed_bound(tmp_path: Path) -> None:
    pool = node("MaxPool", "x", "p i", kernel_shape=[2, 2])
    nodes = [pool, node("Cast", "i", "c", to=1), node("Add", "p c")]
    with pytest.raises(UnsupportedError, match=r"p \(MaxPool.*values only"):
        import_onnx(write(tmp_path, nodes, {}))
    nodes = [node("GlobalMaxPool", "x", "m"), node("Clip", "x m")]
    with pytest.raises(UnsupportedError, match=r"(?s)min is a constant.*computed tensor"):
        import_onnx(write(tmp_path, nodes, {}))


def test_a_huge_constant_is_not_made(tmp_path: Path) -> None:
    nodes = [node("ConstantOfShape", "s", "c", name="bomb"), node("Add", "x c")]
    path = write(tmp_path, nodes, {"s": ints(2**20, 2**20)}, shape=("N", 1))
    with pytest.raises(InputError, match=r"(?s)bomb .*reasonable size.*1.1e\+12"):
        import_onnx(path)


def test_a_constant_that_cannot_be_computed(tmp_path: Path) -> None:
    nodes = [node("Gather", "c i", "g", name="bad"), node("Add", "x g")]
    path = write(tmp_path, nodes, {"c": random(3), "i": ints(7)})
    with pytest.raises(DeployqError, match=r"(?s)bad .*can be computed.*next: "):
        import_onnx(path)
