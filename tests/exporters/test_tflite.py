"""The writer of ``.tflite`` files: what it writes, and what it refuses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from onnx import helper

from benchmarks.sweeps.layers import linear
from benchmarks.sweeps.sweep import S8, S16, Sweep, grid, of
from deployq.arithmetic.geometry import ConvGeometry, ConvTransposeGeometry, Pads, PoolGeometry
from deployq.errors import UnsupportedError
from deployq.qgraph.nodes import (
    Concat,
    Dequantize,
    Elementwise,
    Float,
    IntegerGraph,
    Lookup,
    MatMul,
    Move,
    Node,
    Pool,
    Quantize,
    Rescale,
    Softmax,
)
from deployq.qparams import QParams
from deployq.qtypes import QType
from deployq.simulator import run_graph
from deployq_exporters.runtimes.litert import Kernels, Session
from deployq_exporters.tflite import write_tflite
from deployq_exporters.tflite.signed import signed_graph
from deployq_exporters.tflite.transposes import Step, joined
from deployq_exporters.tflite.windows import Window
from deployq_targets import load_profile

schema = pytest.importorskip("ai_edge_litert.schema_py_generated", reason="needs deployq[litert]")

RNG = np.random.default_rng(0)
U8 = QType(8, signed=False)
REFERENCE = load_profile("litert-ref").contract()


def content(graph: IntegerGraph, inputs: dict[str, Any]) -> bytes:
    codes = run_graph(graph, REFERENCE, inputs).codes
    return write_tflite(graph, {name: (1, *c.shape[1:]) for name, c in codes.items()})


def operators(file: bytes) -> list[str]:
    """Names of the operators of a file, in order."""
    model = schema.ModelT.InitFromPackedBuf(file, 0)
    names = {v: k for k, v in vars(schema.BuiltinOperator).items() if isinstance(v, int)}
    codes = [names[code.builtinCode] for code in model.operatorCodes]
    return [codes[operator.opcodeIndex] for operator in model.subgraphs[0].operators]


def agrees(sweep: Sweep, sets: Sequence[Kernels] = tuple(Kernels)) -> list[str]:
    """Operators of a file whose kernel sets all give the codes of the simulation as litert-ref."""
    file = content(sweep.graph, dict(sweep.inputs))
    (name,) = sweep.graph.outputs
    expected = run_graph(sweep.graph, REFERENCE, sweep.inputs).codes[name].numpy()
    assert len(np.unique(expected)) > 4
    for kernels in sets:
        found = Session(file, kernels).run(sweep.inputs)[0][name]
        np.testing.assert_array_equal(found, expected)
    return operators(file)


def codes(*shape: int) -> Any:
    return RNG.integers(-128, 128, shape)


def moved(op_type: str, size: tuple[int, ...], /, **attributes: Any) -> Sweep:
    node = Move(name="m", op_type=op_type, inputs=("x",), output="y", attributes=attributes)
    return of(node, {"x": grid(0.1, 5), "y": grid(0.1, 5)}, x=codes(*size))


@pytest.mark.parametrize(
    ("sweep", "expected"),
    [
        (moved("Reshape", (2, 6, 4, 5), shape=[0, 120]), ["TRANSPOSE", "RESHAPE"]),
        (moved("Reshape", (2, 6, 1, 1), shape=[-1, 2, 3]), ["RESHAPE"]),
        (moved("Reshape", (2, 120), shape=[0, 6, 4, 5]), ["RESHAPE", "TRANSPOSE"]),
        (moved("Flatten", (2, 1, 4, 5), axis=1), ["RESHAPE"]),
        (moved("Squeeze", (2, 6, 1, 5), axes=[2]), ["TRANSPOSE", "RESHAPE"]),
        (moved("Unsqueeze", (2, 6, 5), axes=[-1]), ["RESHAPE", "TRANSPOSE"]),
        (moved("Transpose", (2, 3, 4, 5), perm=[0, 2, 3, 1]), ["TRANSPOSE"]),
        (moved("Transpose", (2, 3, 4, 5), perm=[0, 3, 1, 2]), ["TRANSPOSE"]),
        (moved("Transpose", (2, 3, 4), perm=[0, 2, 1]), ["TRANSPOSE"]),
        (
            moved("Slice", (2, 6, 9, 7), axes=[2, 3, 1], starts=[0, 1, -5], ends=[9, 99, -1],
                  steps=[2, 2, 1]),
            ["STRIDED_SLICE"],
        ),
        (
            moved("Pad", (2, 3, 4, 5), pads=[0, 2, 1, 0, 0, 3, 0, 2], axes=None, mode="constant",
                  value=None, real=0.0),
            ["PAD"],
        ),
        (
            moved("Pad", (2, 3, 4), pads=[1, 2], axes=[-1], mode="constant", value=-100),
            ["PADV2"],
        ),
        (
            moved("Pad", (2, 3, 4, 5), pads=[0, 2, 1, 0, 0, 1, 0, 2], axes=None, mode="reflect",
                  value=None),
            ["MIRROR_PAD"],
        ),
        (moved("Resize", (2, 3, 4, 5), scales=[2, 3], sizes=None), ["RESIZE_NEAREST_NEIGHBOR"]),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else "",
)  # fmt: skip
def test_movements(sweep: Sweep, expected: list[str]) -> None:
    assert agrees(sweep) == expected


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((9, 7), ["SOFTMAX"]),
        ((2, 5, 7), ["SOFTMAX"]),
        ((2, 3, 5, 7), ["TRANSPOSE", "SOFTMAX", "TRANSPOSE"]),
        ((2, 1, 5, 7), ["TRANSPOSE", "SOFTMAX", "TRANSPOSE"]),
    ],
)
def test_shares_are_along_the_last_axis(shape: tuple[int, ...], expected: list[str]) -> None:
    node = Softmax(name="s", op_type="Softmax", inputs=("x",), output="y")
    sweep = of(node, {"x": grid(0.03, 5), "y": grid(1 / 256, -128)}, x=codes(*shape))
    assert agrees(sweep, [Kernels.REFERENCE]) == expected


@pytest.mark.parametrize(
    ("pads", "stride", "expected"),
    [
        ((1, 1, 1, 1), 1, "SAME"),
        ((0, 0, 1, 1), 2, "SAME"),
        ((0, 0, 0, 0), 2, "VALID"),
        ((1, 1, 1, 1), 2, None),
        ((2, 2, 0, 0), 1, None),
        ((0, 1, 0, 1), 1, None),
    ],
)
def test_padding_is_same_or_valid_only_where_the_windows_are(
    pads: Pads, stride: int, expected: str | None
) -> None:
    assert Window((3, 3), (stride, stride), pads).padding((8, 8)) == expected


def test_valid_leaves_out_cells_that_no_window_reaches() -> None:
    assert Window((2, 2), (2, 2), (0, 0, 1, 1)).padding((8, 8)) == "VALID"
    # SAME begins as ONNX does where the size is odd, not where it is even
    assert Window((3, 3), (2, 2), (1, 1, 1, 1)).padding((9, 9)) == "SAME"


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [
        (None, ["CONV_2D"]),
        ((-7, 127), ["CONV_2D"]),  # RELU
        ((-7, 41), ["CONV_2D"]),  # RELU6: 6 / 0.125 = 48
        ((-15, 1), ["CONV_2D"]),  # RELU_N1_TO_1
        ((-7, 40), ["CONV_2D", "MAXIMUM", "MINIMUM"]),
        ((-128, 40), ["CONV_2D", "MINIMUM"]),
        ((-20, 127), ["CONV_2D", "MAXIMUM"]),
    ],
)
def test_clamps(bounds: tuple[int, int] | None, expected: list[str]) -> None:
    weight, bias = RNG.integers(-127, 128, (4, 3, 1, 1)), np.zeros(4)
    layer = linear("c", codes(2, 3, 5, 5), weight, bias, 1 / 64, (3, -7), ConvGeometry(), bounds)
    assert agrees(layer, [Kernels.REFERENCE]) == expected


def test_padding_cells_count_only_where_the_graph_says_so() -> None:
    def pool(*pads: int, counts: bool) -> Sweep:
        geometry = PoolGeometry((3, 3), (1, 1), pads, counts)  # type: ignore[arg-type] # 4 of them
        node = Pool(name="p", op_type="AveragePool", inputs=("x",), output="y", geometry=geometry)
        return of(node, {"x": grid(0.1, 5), "y": grid(0.1, 5)}, x=codes(2, 3, 8, 8))

    assert agrees(pool(1, 1, 1, 1, counts=False)) == ["AVERAGE_POOL_2D"]
    assert agrees(pool(1, 1, 1, 1, counts=True)) == ["PAD", "AVERAGE_POOL_2D"]
    with pytest.raises(UnsupportedError, match="leaves out padding cells") as caught:
        agrees(pool(2, 2, 0, 0, counts=False))
    assert caught.value.where == "node p (AveragePool)"


def test_a_padded_maximum_never_takes_a_padding_cell() -> None:
    node = Pool(
        name="p", op_type="MaxPool", inputs=("x",), output="y",
        geometry=PoolGeometry((3, 3), (2, 2), (1, 1, 1, 1)),
    )  # fmt: skip
    grids = {"x": grid(0.1, 127), "y": grid(0.1, 127)}  # zero is the highest code
    assert agrees(of(node, grids, x=codes(2, 3, 8, 8))) == ["PADV2", "MAX_POOL_2D"]


def test_operators_without_an_activation_are_clamped_behind() -> None:
    grids = {name: grid(0.1, 5) for name in "xay"}
    joined = Concat(
        name="c", op_type="Concat", inputs=("x", "a"), output="y", axis=1, bounds=(5, 127)
    )
    parts = {"x": codes(2, 3, 4, 5), "a": codes(2, 6, 4, 5)}
    assert agrees(of(joined, grids, **parts)) == ["CONCATENATION", "MAXIMUM"]
    sweep = moved("Pad", (2, 3, 4), pads=[1, 2], axes=[-1], mode="constant", value=-100)
    clamped = (replace(sweep.graph.nodes[0], bounds=(-20, 30)),)
    sweep = replace(sweep, graph=replace(sweep.graph, nodes=clamped))
    assert agrees(sweep) == ["PADV2", "MAXIMUM", "MINIMUM"]


def test_parts_and_constants_keep_their_axes() -> None:
    grids = {name: grid(0.1, 5) for name in "aby"}
    joined = Concat(name="c", op_type="Concat", inputs=("a", "b"), output="y", axis=1)
    parts = {"a": codes(2, 3, 4, 5), "b": codes(2, 6, 4, 5)}
    assert agrees(of(joined, grids, **parts)) == ["CONCATENATION"]
    added = Elementwise(name="a", op_type="Add", inputs=("a", "b"), output="y")
    sweep = of(added, grids, a=codes(2, 3, 4, 5))
    graph = replace(sweep.graph, constants={"b": RNG.integers(-9, 9, (3, 1, 1))})
    assert agrees(replace(sweep, graph=graph)) == ["ADD"]


def test_unsigned_codes_are_stored_128_lower() -> None:
    facts = {"pads": [0, 0, 1, 1] * 2, "axes": None, "mode": "constant", "value": 250}
    nodes = (
        Move(name="m", op_type="Pad", inputs=("x",), output="p", attributes=facts),
        Elementwise(name="a", op_type="Add", inputs=("p", "c"), output="y", bounds=(3, 200)),
    )
    qparams = QParams(U8, np.asarray(0.1), np.asarray(3))
    grids, constants = dict.fromkeys("xpcy", qparams), {"c": np.asarray([[[0]], [[9]], [[255]]])}
    graph = IntegerGraph(nodes, grids, ("x",), ("p", "y"), constants)
    x = np.resize(np.arange(256), (2, 3, 8, 8)).astype(np.uint8)
    expected = run_graph(graph, REFERENCE, {"x": x}).codes
    lower = (x.astype(int) - 128).astype(np.int8)
    found, _ = Session(content(graph, {"x": x}), Kernels.REFERENCE).run({"x": lower})
    for name in graph.outputs:
        np.testing.assert_array_equal(found[name], expected[name].numpy().astype(int) - 128)
    assert found["p"][0, 0, 0, 0] == 122
    assert (found["y"].min(), found["y"].max()) == (-125, 72)
    signed = signed_graph(graph)
    assert signed.qparams["x"] == QParams(S8, qparams.scale, np.asarray(-125))
    assert signed_graph(signed) is signed


def test_same_graph_same_bytes() -> None:
    layer = linear(
        "c", codes(2, 3, 5, 5), codes(4, 3, 1, 1), np.zeros(4), 1, (0, 0), ConvGeometry()
    )
    assert content(layer.graph, dict(layer.inputs)) == content(layer.graph, dict(layer.inputs))


def _one(node: Node, **changes: QParams) -> IntegerGraph:
    grids = {name: grid(0.1, 5) for name in (*node.inputs, node.output)} | changes
    return IntegerGraph((node,), grids, node.inputs, (node.output,))


SHAPE = (1, 3, 4, 4)
TWO = {"inputs": ("x",), "output": "y", "name": "n"}
PAIR = {"inputs": ("x", "x"), "output": "y", "name": "n"}
LAYER = linear("n", codes(1, 3, 4, 4), codes(4, 3, 1, 1), np.zeros(4), 1, (0, 0), ConvGeometry())
WEIGHTED: Any = LAYER.graph.nodes[0]
OTHER = grid(0.2, 5)


def _normed(operator: str = "LayerNormalization", **attributes: Any) -> IntegerGraph:
    """Codes, an operator in float over them, codes."""
    proto = helper.make_node(operator, ["r", "s"], ["f"], **attributes)
    constants = {"s": np.ones(4, np.float32)}
    nodes = (
        Dequantize(op_type="DequantizeLinear", name="d", inputs=("x",), output="r"),
        Float(op_type=operator, name="f", inputs=("r",), output="f", operator=proto, opset=17,
              constants=constants),
        Quantize(op_type="QuantizeLinear", name="q", inputs=("f",), output="y"),
    )  # fmt: skip
    return IntegerGraph(nodes, {"x": grid(0.1, 5), "y": grid(0.1, 5)}, ("x",), ("y",))


@pytest.mark.parametrize(
    ("graph", "rule", "found"),
    [
        (_one(Softmax(op_type="Softmax", **TWO)), "the output of SOFTMAX has one grid", "0.1000"),
        (
            _one(Concat(op_type="Concat", axis=1, **TWO), y=OTHER),
            "inputs and output have one scale", "x: 0.1",
        ),
        (
            _one(Pool(op_type="MaxPool", geometry=PoolGeometry((2, 2)), **TWO), y=OTHER),
            "inputs and output have one scale", "x: 0.1",
        ),
        (
            _one(Move(op_type="Identity", **TWO), y=OTHER),
            "inputs and output have one scale", "x: 0.1",
        ),
        (
            _one(Move(op_type="Transpose", attributes={"perm": [1, 0, 2, 3]}, **TWO)),
            "the batch is the first axis", "perm [1, 0, 2, 3]",
        ),
        (
            _one(Move(op_type="Slice", attributes={"axes": [0], "starts": [0], "ends": [0],
                                                   "steps": [1]}, **TWO)),
            "the batch is the first axis", "axes [0]",
        ),
        (
            _one(Move(op_type="Pad", attributes={"pads": [0, 0, 1, 1] * 2, "axes": None,
                                                 "mode": "edge", "value": None}, **TWO)),
            "padding adds constant or reflected cells", "mode edge",
        ),
        (
            _one(Rescale(op_type="QuantizeLinear", **TWO),
                 y=QParams(QType(4, signed=True), np.asarray(0.1))),
            "activations of 8 bits", "s4[-8,7]",
        ),
        (
            _one(Rescale(op_type="QuantizeLinear", **TWO), y=grid(0.1, 3, S16)),
            "or of 16 with zero point 0", "s16[-32768,32767], zero point 3",
        ),
        (
            _one(Rescale(op_type="QuantizeLinear", **TWO), y=grid(0.1, 0, S16)),
            "codes of one width", "s8[-128,127], s16[-32768,32767]",
        ),
        (
            _one(Lookup(op_type="Tanh", **TWO), x=grid(0.1, 0, S16), y=grid(1 / 128, 0, S16)),
            "the output of TANH has one grid", "s16[-32768,32767], 0.0078125, 0",
        ),
        (_one(Lookup(op_type="Elu", **TWO)), "the codes that LiteRT computes", "Elu"),
        (
            _one(Lookup(op_type="Gelu", **TWO), x=grid(0.1, 0, S16), y=grid(0.1, 0, S16)),
            "the steps of GELU are known for codes of 8 bits", "s16",
        ),
        (
            _one(MatMul(op_type="MatMul", shifted=False, **PAIR), x=grid(0.1, 0, S16),
                 y=grid(0.1, 0, S16)),
            "the codes of BATCH_MATMUL are known for 8 bits", "s16",
        ),
        (_normed(axis=1), "a normalization is along the last axis", "axis 1 of 4, 1 tensors"),
        (_normed("LpNormalization"), "every operator has an integer form", "LpNormalization"),
        (
            _one(Lookup(op_type="HardSwish", **TWO), x=grid(0.1, 0, S16), y=grid(0.1, 0, S16)),
            "the steps of HARD_SWISH are known for codes of 8 bits", "s16",
        ),
        (_one(Lookup(op_type="Sigmoid", **TWO)), "the output of LOGISTIC has one grid", ", 5"),
        (
            IntegerGraph((Quantize(op_type="QuantizeLinear", bounds=(0, 9), **TWO),),
                         {"y": grid(0.1)}, ("x",), ("y",)),
            "the codes that enter are all of their type", "a clamp to (0, 9)",
        ),
        (
            replace(LAYER.graph, nodes=(replace(
                WEIGHTED, op_type="ConvTranspose",
                geometry=ConvTransposeGeometry(dilations=(2, 1))),)),
            "one group and a window without gaps", "dilations (2, 1)",
        ),
        (
            replace(LAYER.graph, nodes=(replace(WEIGHTED, bias=np.asarray([1 << 31] * 4)),)),
            "the bias of a layer of 8-bit codes has 32 bits", "2147483648",
        ),
        (
            replace(LAYER.graph, nodes=(replace(WEIGHTED, weight_qparams=QParams(
                S8, np.asarray(0.1), np.asarray(3))),)),
            "weights are signed codes of 8 bits with zero point 0", "zero points [3]",
        ),
        (
            replace(LAYER.graph, nodes=(replace(WEIGHTED, op_type="Gemm",
                                                weight=WEIGHTED.weight[..., 0, 0].T),)),
            "reads rows of up to three axes", "(1, 3, 4, 4)",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_what_a_file_cannot_say_is_refused(graph: IntegerGraph, rule: str, found: str) -> None:
    with pytest.raises(UnsupportedError, match=rule) as caught:
        write_tflite(graph, {"x": SHAPE, "y": SHAPE})
    assert found.lower() in caught.value.found.lower()
    assert caught.value.next_step


def test_operands_of_different_ranks_are_refused() -> None:
    node = Elementwise(name="n", op_type="Add", inputs=("a", "b"), output="y")
    with pytest.raises(UnsupportedError, match="as many axes"):
        write_tflite(_one(node), {"a": SHAPE, "b": (1, 3), "y": SHAPE})


def test_factors_of_other_ranks_are_refused() -> None:
    node = MatMul(name="n", op_type="MatMul", inputs=("a", "b"), output="y", shifted=False)
    grids = {name: grid(0.1) for name in "aby"}
    graph = IntegerGraph((node,), grids, ("a", "b"), ("y",))
    shapes = {"a": (1, 2, 3, 4), "b": (1, 4, 5), "y": (1, 2, 3, 5)}
    with pytest.raises(UnsupportedError, match="both factors have three axes, or both four"):
        write_tflite(graph, shapes)


def test_chains_of_transposes_are_one_or_none() -> None:
    """Softmax and products of four axes: each brings a TRANSPOSE to its order and one back."""
    grids = {"x": grid(0.1), "s": grid(1 / 256, -128), "y": grid(0.1)}
    nodes = (
        Softmax(name="s", op_type="Softmax", inputs=("x",), output="s"),
        MatMul(name="y", op_type="MatMul", inputs=("s", "x"), output="y", shifted=False),
    )
    graph = IntegerGraph(nodes, grids, ("x",), ("y",))
    made = agrees(Sweep(graph, {"x": codes(2, 3, 5, 5).astype(np.int8)}), (Kernels.REFERENCE,))
    assert made == ["TRANSPOSE", "SOFTMAX", "TRANSPOSE", "BATCH_MATMUL", "TRANSPOSE"]


def test_transposes_whose_values_others_read_stay() -> None:
    turn, back = (0, 2, 3, 1), (0, 3, 1, 2)
    steps = [
        Step((0, 9), (1,), turn), Step((1, 9), (2,), back), Step((2,), (3,)),
        Step((1,), (4,)), Step((2, 9), (5,), turn), Step((5, 9), (6,), turn),
    ]  # fmt: skip
    left = joined(steps, (3, 4, 6), lambda axes: 100 + axes[1])
    assert left == [
        (0, Step((0, 102), (1,), turn)), (2, Step((0,), (3,))), (3, Step((1,), (4,))),
        (5, Step((0, 103), (6,), (0, 3, 1, 2))),
    ]  # fmt: skip
    whole = joined(steps[:2], (2,), lambda axes: 100)
    assert [step.axes for _, step in whole] == [(0, 1, 2, 3)]


def test_cells_that_float32_misses_are_refused() -> None:
    node = Move(op_type="Resize", attributes={"scales": None, "sizes": [82, 4]}, **TWO)
    with pytest.raises(UnsupportedError, match="float32 arithmetic takes the cells"):
        write_tflite(_one(node), {"x": (1, 3, 2, 4), "y": (1, 3, 82, 4)})  # cell 41 is 0.99999994
