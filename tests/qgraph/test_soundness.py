"""What a model must be before it is read; each refusal names the place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.capi import onnxruntime_pybind11_state as runtime

from deployq.errors import DeployqError, InputError, QuantizationError, UnsupportedError
from deployq.qgraph import read_graph, signatures
from deployq.qparams import PerBlock, PerChannel, QParams
from deployq.qtypes import QType
from tests.qgraph.texts import qdq

LAYER = "wd = DequantizeLinear(w, sw, zw)\nv = Conv(xd, wd)"
X, Y, F = "xq, sx, zx", "sy, zy", "com.microsoft."


def node(model: onnx.ModelProto, output: str) -> onnx.NodeProto:
    return next(n for n in model.graph.node if output in n.output)


def attribute(model: onnx.ModelProto, **values: Any) -> None:
    stated = [helper.make_attribute(key, value) for key, value in values.items()]
    node(model, "v").attribute.extend(stated)


def constant(model: onnx.ModelProto, name: str, value: Any) -> None:
    stored = next(t for t in model.graph.initializer if t.name == name)
    stored.CopyFrom(numpy_helper.from_array(np.asarray(value), name))


def retyped(model: onnx.ModelProto, kind: int) -> None:
    next(t for t in model.graph.initializer if t.name == "w").data_type = kind


def referring(model: onnx.ModelProto) -> None:
    attribute(model, group=1)
    node(model, "v").attribute[0].ref_attr_name = "outer"


def away(model: onnx.ModelProto) -> None:
    value = TensorProto(data_type=TensorProto.FLOAT, data_location=TensorProto.EXTERNAL)
    attribute(model, value=value)


BROKEN: dict[str, tuple[Callable[[onnx.ModelProto], Any], str]] = {
    "no opset": (lambda m: m.ClearField("opset_import"), "one known opset"),
    "two names": (lambda m: m.graph.node.append(node(m, "wd")), "'wd': a tensor has a name and is"),
    "a nameless tensor": (lambda m: m.graph.initializer.add(), "'': a tensor has a name"),
    "a loop": (lambda m: node(m, "xd").input.__setitem__(0, "y"), "no tensor follows from itself"),
    "a lost tensor": (lambda m: node(m, "v").input.__setitem__(0, "lost"),
                      r"node v \(Conv\), input 0: a node reads tensors made before it"),
    "a lost output": (lambda m: m.graph.output.add(name="lost"), "graph outputs: a node reads"),
    "a nameless output": (lambda m: node(m, "v").output.insert(0, ""), "names what it makes"),
    "no ends": (lambda m: node(m, "v").ClearField("input"), "ONNX's checker: a node obeys"),
    "a foreign attribute": (lambda m: attribute(m, axis=1), "Unrecognized attribute"),
    "an attribute twice": (lambda m: (attribute(m, group=1), attribute(m, group=1)),
                           "'group': an attribute is a number"),
    "a reference": (referring, "a reference to 'outer'"),
    "bytes for a text": (lambda m: attribute(m, auto_pad=b"\xff"), "not UTF-8"),
    "a graph inside": (lambda m: attribute(m, body=helper.make_graph([], "b", [], [])),
                       "has no graph of its own"),
    "data elsewhere": (away, "of attribute value: the model's data is in memory"),
    "an input of no type": (lambda m: m.graph.input[0].ClearField("type"), "graph input 'x'"),
    "a negative size": (lambda m: m.graph.input[0].type.tensor_type.shape.dim.add(dim_value=-1),
                        "without negative sizes"),
    "a weight of no type": (lambda m: retyped(m, 77), "tensor w: a stored tensor has one of"),
    "a weight too short": (lambda m: retyped(m, TensorProto.INT16), "data that fills its shape"),
    "many scales": (lambda m: constant(m, "sw", np.ones(3, np.float32)),
                    "scale and zero point have the same shape"),
    "groups": (lambda m: attribute(m, group=3), r"weight: weights have shape \(O, C / groups"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_model_is_refused(name: str) -> None:
    change, text = BROKEN[name]
    model = qdq(LAYER)
    read_graph(model)
    change(model)
    with pytest.raises(DeployqError, match=text):
        read_graph(model)


CODES = {
    "inputs": (f"v = {F}QLinearAdd({X}, {X})", "has its number of inputs"),
    "parts": (f"v = {F}QLinearConcat <axis = 1> ({Y}, {X}, {X}, {X}, xq)", "3 for each part"),
    "attributes": (f"v = {F}QLinearSigmoid <alpha = 1.0> ({X}, {Y})", "found: alpha"),
    "a type": (f"v = {F}QLinearLeakyRelu <alpha = 1> ({X}, {Y})", "allowed: alpha"),
    "a need": (f"v = {F}QLinearAveragePool({X}, {Y})", "no kernel_shape"),
    "a float weight": (f"f = Flatten(xq)\nv = {F}QGemm(f, sx, zx, m32, sw, zw, , {Y})",
                       "input 3 is constant codes"),
    "a rank": (f"f = Flatten(xq)\nv = {F}QGemm(f, sx, zx, w, sw, zw, , {Y})", "weight: a weight"),
    "a bias": (f"f = Flatten(xq)\nv = {F}QGemm(f, sx, zx, m, sw, zw, short, {Y})",
               "bias: a bias has one value"),
    "a whole scale": (f"v = {F}DequantizeLinear(xq, zx, zx)", "input 1 is a scale, in float"),
    "a torn slice": ("two = Constant <value_ints = [0, 1]> ()\none = Constant <value_ints = [4]> ()"
                     "\nt = Transpose(two)\nv = Slice(xd, t, one, one)",
                     "a start, an end and a step for each axis"),
    "a bias without end": ("wd = DequantizeLinear(w, sw, zw)\nv = Conv(xd, wd, endless)",
                           "a whole number of steps"),
    "scales without product": ("wd = DequantizeLinear(w, tiny, zw)\nt = QuantizeLinear(x, tiny, zx)"
                               "\ntd = DequantizeLinear(t, tiny, zx)\nv = Conv(td, wd, one4)",
                               "a positive float32"),
    "an index beyond": ("i = Constant <value_ints = [9]> ()\ng = Gather(c, i)\nv = Relu(xd)",
                        "an operator on constants can be computed"),
    "a cast to text": ("s = Shape(x)\nt = Cast <to = 8> (s)\nu = Cast <to = 7> (t)\n"
                       "v = Reshape(xd, u)", "a constant is cast to numbers"),
    "a giant Gather": ("g = Gather(many, indices)\nv = Relu(xd)", "computed constants are small"),
    "giant sizes": ("v = Resize <coordinate_transformation_mode = \"asymmetric\", "
                    "nearest_mode = \"floor\"> (xd, , , giant)", "sizes of an image"),
    "groups of inputs": ("td = DequantizeLinear(w, sw, zw)\nv = ConvTranspose <group = 3> (xd, td)",
                         "groups divide the input channels"),
}  # fmt: skip


@pytest.mark.parametrize("name", CODES)
def test_a_broken_node_is_refused(name: str) -> None:
    body, text = CODES[name]
    constants = {
        "m32": np.zeros((192, 4), np.float32), "short": np.zeros(3, np.int32),
        "endless": np.full(4, np.inf, np.float32), "tiny": np.float32(1e-30),
        "one4": np.ones(4, np.float32), "many": np.zeros((1, 9000), np.int8),
        "indices": np.zeros(9000, np.int64), "giant": np.int64([1, 3, 1 << 30, 9]),
        "m": np.zeros((192, 4), np.int8),
    }  # fmt: skip
    with pytest.raises(DeployqError, match=text):
        read_graph(qdq(body, shape="1,3,8,8", **constants))


def test_open_sizes_are_no_scale() -> None:
    body = "n = Shape <start = 0, end = 1> (x)\nv = com.microsoft.DequantizeLinear(xq, n, zx)"
    with pytest.raises(UnsupportedError, match="input 1 is numbers"):
        read_graph(qdq(body))


def test_a_slope_is_finite() -> None:
    model = qdq("v = LeakyRelu(xd)")
    attribute(model, alpha=np.inf)
    with pytest.raises(UnsupportedError, match="slopes, limits and offsets are finite"):
        read_graph(model)


def test_signatures_are_those_of_onnx_runtime() -> None:
    known = {s.name: s for s in runtime.get_all_operator_schema() if s.domain == "com.microsoft"}
    types = {runtime.schemadef.OpSchema.AttrType.__members__[n]: v for n, v in
             (("INT", 2), ("FLOAT", 1), ("INTS", 7), ("STRING", 3))}  # fmt: skip
    for name, (least, most) in signatures.INPUTS.items():
        schema, parts = known[name], name == "QLinearConcat"
        assert most == schema.max_input and least == (5 if parts else schema.min_input)
        stated = {key: types[value.type] for key, value in schema.attributes.items()}
        assert stated == dict(signatures.ATTRIBUTES.get(name, {}))
        needed = tuple(key for key, value in schema.attributes.items() if value.required)
        assert needed == signatures.NEEDED.get(name, ())


U8 = QType(8, False)


@pytest.mark.parametrize(("granularity", "shape", "fits"), [
    (PerChannel(0), (4, 3), True), (PerChannel(-1), (3, 4), True), (PerChannel(1), (4, 3), False),
    (PerChannel(2), (4, 4), False), (PerBlock(0, 2), (8,), True), (PerBlock(0, 3), (8,), False),
    (PerBlock(0, 1 << 40), (8,), False),
])  # fmt: skip
def test_each_part_of_a_tensor_has_a_scale(
    granularity: Any, shape: tuple[int, ...], fits: bool
) -> None:
    qparams = QParams(U8, np.ones(4, np.float32), granularity=granularity)
    if fits:
        assert qparams.expanded(shape)[0].size in (4, 8)
    else:
        with pytest.raises(QuantizationError, match="one scale for each part"):
            qparams.expanded(shape)


def test_a_long_block_costs_no_memory() -> None:
    one = QParams(U8, np.ones(1, np.float32), granularity=PerBlock(0, 1 << 60))
    assert one.expanded((8,))[0].shape == (8,)


@pytest.mark.parametrize(("scale", "granularity", "text"), [
    (np.ones((0,), np.float32), PerChannel(0), "positive and finite"),
    (np.ones((1,), np.float32), PerBlock(0, 0), "at least one element"),
])  # fmt: skip
def test_parameters_that_are_none(scale: Any, granularity: Any, text: str) -> None:
    with pytest.raises(QuantizationError, match=text):
        QParams(U8, scale, granularity=granularity)


def test_large_constants_are_not_copied_for_their_shapes() -> None:
    """The batch and the bias fit; a weight of 5,000 codes is looked at by shape alone."""
    body = "wd = DequantizeLinear(wide, sw, zw)\nv = Conv(xd, wd)"
    assert read_graph(qdq(body, wide=np.zeros((1700, 3, 1, 1), np.int8))).nodes
    with pytest.raises(InputError, match=r"node name: v\)|weights \(1700"):
        read_graph(qdq(body, wide=np.zeros((1700, 4, 1, 1), np.int8)))
