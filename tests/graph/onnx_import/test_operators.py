"""Every operator in the forms of its opsets, against ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.graph.onnx_import.files import assert_equal, ints, node, random, write

W = random(4, 3, 3, 3, seed=1)
F32 = np.float32


def one(kind: str, inputs: str = "x", opset: int = 18, **rest: Any) -> Any:
    """A case of one node: constants are arrays, everything else is an attribute."""
    constants = {k: v for k, v in rest.items() if isinstance(v, (np.ndarray, np.generic))}
    attributes = {k: v for k, v in rest.items() if k not in constants}
    label = f"{kind}-{opset}-{','.join(map(str, attributes.values()))}"
    return pytest.param([node(kind, inputs, **attributes)], constants, opset, id=label[:60])


CONVOLUTIONS = [
    one("Conv", "x w", w=W),
    one("Conv", "x w b", w=W, b=random(4), pads=[1, 1, 1, 1], strides=[2, 1], opset=7),
    one("Conv", "x w", w=W, pads=[0, 1, 2, 1], dilations=[2, 1], opset=11),
    one("Conv", "x w", w=random(6, 1, 3, 3), group=3, auto_pad="SAME_UPPER", strides=[2, 2]),
    one("Conv", "x w", w=random(2, 3, 2, 2), auto_pad="SAME_LOWER"),
    one("Conv", "x w", w=W, auto_pad="VALID", opset=22),
    one("ConvTranspose", "x w", w=random(3, 4, 3, 3), strides=[2, 2], pads=[1, 1, 1, 1]),
    one("ConvTranspose", "x w b", w=random(3, 2, 3, 3), b=random(2), output_padding=[1, 1],
        strides=[2, 2]),
    one("ConvTranspose", "x w", w=random(3, 4, 3, 3), strides=[2, 2], pads=[0, 1, 1, 0]),
]  # fmt: skip

ACTIVATIONS = [
    *(one(k) for k in ("Relu", "Sigmoid", "Tanh", "Neg", "Exp", "Erf", "HardSwish")),
    *(one(k, opset=7) for k in ("Relu", "LeakyRelu", "Elu", "HardSigmoid")),
    one("LeakyRelu", alpha=0.2),
    one("Elu", alpha=0.5),
    one("HardSigmoid", alpha=1 / 6, beta=0.5),
    one("Gelu", opset=20),
    one("Gelu", opset=20, approximate="tanh"),
    one("PRelu", "x s", s=random(3, 1, 1)),
    one("PRelu", "x s", s=random(1, 1, 1)),
    one("Clip", opset=7, min=-0.5, max=0.7),
    one("Clip", opset=9, max=0.7),
    one("Clip", "x a b", a=F32(-0.5), b=F32(0.5)),
    one("Clip", "x - b", b=F32(0.5)),
    one("Clip", "x a", a=F32(0.0), opset=11),
    one("Softmax"),
    one("Softmax", axis=1),
    one("Softmax", opset=9),
    one("Softmax", opset=11, axis=2),
    one("Softmax", opset=11, axis=3),
]

ELEMENTWISE = [
    *(one(k, "x c", c=F32(1.5)) for k in ("Add", "Sub", "Mul", "Div")),
    *(one(k, "c x", c=F32(1.5), opset=7) for k in ("Add", "Sub", "Mul", "Div")),
    *(one(k, "x c", c=random(3, 1, 1)) for k in ("Add", "Sub", "Mul", "Div", "Min", "Max")),
    *(one(k, "c x", c=random(3, 1, 1)) for k in ("Sub", "Div")),
    *(one(k, "x c", c=F32(0.1)) for k in ("Min", "Max")),
    one("Max", "x c d", c=random(3, 1, 1), d=F32(0.1), opset=8),
    one("Pow", "x c", c=F32(2.0)),
]

POOLS = [
    one("MaxPool", kernel_shape=[2, 2], strides=[2, 2], opset=7),
    one("MaxPool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
    one("MaxPool", kernel_shape=[3, 3], strides=[2, 2], pads=[0, 0, 1, 1]),
    one("MaxPool", kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER"),
    one("MaxPool", kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_LOWER"),
    one("MaxPool", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1),
    one("MaxPool", kernel_shape=[2, 2], strides=[1, 1], pads=[0, 0, 1, 1]),
    one("MaxPool", kernel_shape=[2, 3], dilations=[2, 2]),
    one("AveragePool", kernel_shape=[2, 2], strides=[2, 2], opset=7),
    one("AveragePool", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
    one("AveragePool", kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1),
    one("AveragePool", kernel_shape=[3, 3], pads=[0, 0, 1, 1], count_include_pad=1),
    one("AveragePool", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1),
    one("AveragePool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1], ceil_mode=1,
        count_include_pad=1, opset=19),
    one("AveragePool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1], ceil_mode=1),
    one("GlobalAveragePool"),
    one("GlobalMaxPool"),
    one("ReduceMean", axes=[2, 3], opset=13),
    one("ReduceMean", axes=[-1], keepdims=0, opset=7),
    one("ReduceMean", "x a", a=ints(2, 3)),
    one("ReduceSum", "x a", a=ints(1), opset=13),
    one("ReduceSum", axes=[1], opset=11),
]  # fmt: skip

MOVEMENTS = [
    one("Reshape", "x s", s=ints(-1, 192)),
    one("Reshape", "x s", s=ints(0, 0, -1), opset=7),
    one("Flatten", opset=7),
    one("Flatten", axis=-3),
    one("Transpose", perm=[0, 2, 3, 1]),
    one("Unsqueeze", axes=[1], opset=11),
    one("Unsqueeze", "x a", a=ints(-1, 2), opset=13),
    one("Concat", "x x", axis=1),
    one("Concat", "x x x", axis=3, opset=7),
    one("Slice", opset=9, starts=[1, -3], ends=[2**31 - 1, -1], axes=[2, 3]),
    one("Slice", "x s e a t", s=ints(0, 0), e=ints(2**62, 7), a=ints(0, 2), t=ints(1, 2)),
    one("Slice", "x s e a", s=ints(1), e=ints(2), a=ints(-3), opset=10),
    one("Gather", "x i", i=np.array(1), axis=2),
    one("Gather", "x i", i=ints(-2), axis=1),
    one("Gather", "x i", i=ints(0, 2), axis=1, opset=7),
    one("Pad", opset=10, pads=[0, 0, 1, 2, 0, 0, 3, 4], value=0.5),
    one("Pad", "x p", p=ints(0, 0, 1, 1, 0, 0, 1, 1), mode="reflect", opset=11),
    one("Pad", "x p", p=ints(0, 0, 1, 1, 0, 0, 1, 2), mode="edge"),
    one("Pad", "x p v", p=ints(0, 1, 0, 0, 0, 0, -1, 0), v=F32(2.0), opset=13),
    one("Pad", "x p v a", p=ints(1, 2, 1, 2), v=F32(2.0), a=ints(2, -1)),
    one("Pad", "x p - a", p=ints(1, 2, 1, 2), a=ints(2, 3), mode="wrap", opset=19),
]

RESIZES = [
    one("Upsample", opset=7, scales=[1.0, 1.0, 2.0, 3.0]),
    one("Upsample", "x s", opset=9, s=np.array([1, 1, 2, 2], F32), mode="nearest"),
    one("Resize", "x s", opset=10, s=np.array([1, 1, 2, 2], F32)),
    one("Resize", "x - s", s=np.array([1, 1, 2, 4], F32)),
    one("Resize", "x - s", s=np.array([1, 1, 0.5, 1.5], F32), nearest_mode="floor",
        coordinate_transformation_mode="asymmetric"),
    one("Resize", "x r s", r=np.zeros(0, F32), s=np.array([1, 1, 2, 2], F32), mode="linear",
        opset=11),
    one("Resize", "x - - s", s=ints(1, 3, 12, 10), mode="linear",
        coordinate_transformation_mode="pytorch_half_pixel"),
    one("Resize", "x - - s", s=ints(13, 5), axes=[2, 3], mode="linear",
        coordinate_transformation_mode="align_corners"),
]  # fmt: skip

PASSING = [
    one("Identity"),
    one("Dropout", opset=7),
    one("Dropout", "x r", r=F32(0.3)),
    one("Cast", to=1),
    one("Clip", opset=9),
    one("ReduceMean", noop_with_empty_axes=1),
    one("Expand", "x s", s=ints(1, 3, 1, 1)),
    one("Slice", "x s e", s=ints(0, 0), e=ints(2**62, 3)),
    one("Pad", "x p", p=ints(*[0] * 8)),
]


@pytest.mark.parametrize(
    ("nodes", "constants", "opset"),
    [*CONVOLUTIONS, *ACTIVATIONS, *ELEMENTWISE, *POOLS, *MOVEMENTS],
)
def test_one_node_computes_what_onnxruntime_computes(
    nodes: Any, constants: Any, opset: int, tmp_path: Path
) -> None:
    path = write(tmp_path, nodes, constants, opset=opset)
    assert_equal(path, random(3, 3, 8, 8, seed=9))


@pytest.mark.parametrize(("nodes", "constants", "opset"), PASSING)
def test_nodes_that_pass_their_input_on_leave_no_call(
    nodes: Any, constants: Any, opset: int, tmp_path: Path
) -> None:
    path = write(tmp_path, [*nodes, node("Relu", "y", "z")], constants, opset=opset, outputs=("z",))
    graph = assert_equal(path, random(3, 3, 8, 8, seed=9))
    assert [n.meta["name"] for n in graph.graph.nodes if n.op == "call_function"] == ["z"]


@pytest.mark.parametrize(("nodes", "constants", "opset"), RESIZES)
def test_resizes(nodes: Any, constants: Any, opset: int, tmp_path: Path) -> None:
    path = write(tmp_path, nodes, constants, opset=opset, shape=(1, 3, 8, 8))
    assert_equal(path, random(3, 3, 8, 8, seed=9))


@pytest.mark.parametrize("kind", ["Add", "Sub", "Mul", "Div", "MatMul", "Min", "Max"])
def test_two_activations(kind: str, tmp_path: Path) -> None:
    path = write(tmp_path, [node(kind, "a b")], {}, inputs=("a", "b"))
    assert_equal(path, random(3, 3, 8, 8, seed=1), np.exp(random(3, 3, 8, 8, seed=2)))


@pytest.mark.parametrize("constants", [{}, {"s": ints(1, 2)}])
def test_a_split_becomes_slices(constants: dict[str, Any], tmp_path: Path) -> None:
    split = node("Split", "x s" if constants else "x", "a b", axis=1 if constants else 3)
    path = write(tmp_path, [split], constants, opset=13, outputs=("a", "b"))
    assert_equal(path, random(3, 3, 8, 8))


def test_a_split_by_attribute_and_into_uneven_parts(tmp_path: Path) -> None:
    old = node("Split", "x", "a b", axis=2, split=[3, 5])
    path = write(tmp_path, [old], {}, opset=11, outputs=("a", "b"))
    assert_equal(path, random(3, 3, 8, 8))
    new = node("Split", "x", "a b c", axis=2, num_outputs=3)
    path = write(tmp_path, [new], {}, opset=18, outputs=("a", "b", "c"))
    assert_equal(path, random(3, 3, 8, 8))


@pytest.mark.parametrize("attributes", [{}, {"mode": "CRD"}])
def test_depth_and_space(attributes: dict[str, Any], tmp_path: Path) -> None:
    up = node("DepthToSpace", "x", "u", blocksize=2, **attributes)
    path = write(tmp_path, [up, node("SpaceToDepth", "u", blocksize=4)], {}, shape=("N", 8, 4, 4))
    assert_equal(path, random(3, 8, 4, 4))


@pytest.mark.parametrize("axis", [-1, 2])
def test_layer_normalization(axis: int, tmp_path: Path) -> None:
    shape = (8,) if axis == -1 else (8, 8)
    constants = {"s": random(*shape), "b": random(*shape, seed=2)}
    path = write(tmp_path, [node("LayerNormalization", "x s b", axis=axis)], constants)
    assert_equal(path, random(3, 3, 8, 8))


@pytest.mark.parametrize("axis", [-1, 2])
def test_rms_normalization(axis: int, tmp_path: Path) -> None:
    constants = {"s": random(*((8,) if axis == -1 else (8, 8)))}
    nodes = [node("RMSNormalization", "x s", axis=axis, epsilon=1e-3)]
    assert_equal(write(tmp_path, nodes, constants, opset=23), random(3, 3, 8, 8))


@pytest.mark.parametrize("opset", [7, 9, 14, 15])
def test_batch_normalization_is_a_module_again(opset: int, tmp_path: Path) -> None:
    tensors = {f"bn.{leaf}": random(3, seed=i) for i, leaf in enumerate(("weight", "bias"))}
    tensors |= {"bn.running_mean": random(3, seed=3), "bn.running_var": random(3, seed=4) ** 2}
    conv = node("Conv", "x w", "c", name="conv")
    norm = node("BatchNormalization", " ".join(["c", *tensors]), epsilon=1e-3)
    path = write(tmp_path, [conv, norm], {"w": random(3, 3, 1, 1), **tensors}, opset=opset)
    graph = assert_equal(path, random(3, 3, 8, 8))
    module = graph.get_submodule("bn")
    assert type(module).__name__ == "BatchNorm2d"
    assert (module.eps, module.momentum) == (pytest.approx(1e-3), pytest.approx(0.1))


@pytest.mark.parametrize("bias", [None, random(5), random(1, 5), np.float32(2)])
@pytest.mark.parametrize("transposed", [0, 1])
def test_gemm_is_a_linear_layer(bias: Any, transposed: int, tmp_path: Path) -> None:
    weight = random(5, 4) if transposed else random(4, 5)
    constants = {"w": weight} | ({} if bias is None else {"b": bias})
    gemm = node("Gemm", " ".join(["x", *constants]), transB=transposed, alpha=0.5, beta=2.0)
    path = write(tmp_path, [gemm], constants, opset=11, shape=("N", 4))
    graph = assert_equal(path, random(3, 4))
    assert [str(n.target) for n in graph.graph.nodes if n.op == "call_function"] == [
        "aten.linear.default"
    ]
    assert dict(graph.named_parameters())["w"].shape == (5, 4)


def test_gemm_of_two_activations(tmp_path: Path) -> None:
    nodes = [node("Relu", "x", "r"), node("Gemm", "r w c", alpha=2.0, beta=0.5)]
    path = write(tmp_path, nodes, {"w": random(4, 4), "c": random(1, 1)}, shape=(1, 4))
    assert_equal(path, random(3, 4))


def test_matmul_and_add_are_one_linear_layer(tmp_path: Path) -> None:
    nodes = [node("MatMul", "x w", "m", name="/fc/MatMul"), node("Add", "b m")]
    path = write(tmp_path, nodes, {"w": random(8, 5), "b": random(5)})
    graph = assert_equal(path, random(3, 3, 8, 8))
    calls = [n for n in graph.graph.nodes if n.op == "call_function"]
    assert [n.meta["name"] for n in calls] == ["fc.MatMul"] and len(calls[0].args) == 3


def test_a_shared_weight_in_two_layouts(tmp_path: Path) -> None:
    nodes = [node("Gemm", "x w", "a", transB=1), node("MatMul", "a w")]
    path = write(tmp_path, nodes, {"w": random(4, 4)}, shape=("N", 4))
    graph = assert_equal(path, random(3, 4))
    assert {name for name, _ in graph.named_parameters()} == {"w", "w_1"}
