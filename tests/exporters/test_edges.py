"""Integer edges on the ONNX graph: what goes, what keeps its name, what a dialect converts."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from torch.nn import functional as F

from deployq.graph.recipe import Recipe
from deployq_exporters.dialects import DIALECTS, translate
from deployq_exporters.dialects.dialect import feedable
from deployq_exporters.lowering import lower, to_proto
from deployq_exporters.rewrites import integer_edges
from deployq_targets.words import Edges
from tests.exporters.graphs import operators, parse, rewritten
from tests.graph.networks import Net, calibrated, conv, profile_with

RUNTIME = DIALECTS["onnxruntime"]


def pooled(kind: str, *, outputs: str = "float[N,3,4,4] y", more: str = "") -> str:
    """x -> Q -> DQ -> Abs -> Q -> DQ -> y."""
    return f"""(float[N,3,4,4] x) => ({outputs})
    <float s = {{0.1}}, {kind} z = {{1}}, float t = {{0.2}}, {kind} w = {{2}},
     float low = {{-0.5}}, float high = {{0.4}}>
    {{ q = QuantizeLinear(x, s, z)  a = DequantizeLinear(q, s, z)
       b = Abs(a)
       c = QuantizeLinear(b, t, w)  y = DequantizeLinear(c, t, w)  {more} }}"""


def edges(model: onnx.ModelProto) -> dict[str, str]:
    values = [*model.graph.input, *model.graph.output]
    kinds = {v.name: v.type.tensor_type.elem_type for v in values}
    return {name: onnx.TensorProto.DataType.Name(kind) for name, kind in kinds.items()}


@pytest.mark.parametrize("kind", ["uint8", "int8", "int4", "uint4"])
def test_codes_replace_reals_at_both_ends(kind: str) -> None:
    model = rewritten(parse(pooled(kind)), integer_edges.RULE)
    assert operators(model) == ["DequantizeLinear", "Abs", "QuantizeLinear"]
    assert edges(model) == {"x": kind.upper(), "y": kind.upper()}


def test_a_stated_range_goes_with_its_quantizer() -> None:
    clipped = "k = Clip(x, low, high)  q = QuantizeLinear(k, s, z)"
    model = parse(pooled("int8").replace("q = QuantizeLinear(x, s, z)", clipped))
    assert "Clip" in operators(rewritten(model, integer_edges.RULE))  # a clamp of the network
    next(node for node in model.graph.node if node.op_type == "Clip").name = "x.range"
    model = rewritten(model, integer_edges.RULE)
    assert operators(model) == ["DequantizeLinear", "Abs", "QuantizeLinear"]


def test_an_input_that_is_read_in_float_stays() -> None:
    text = pooled("int8", outputs="float[N,3,4,4] y, float[N,3,4,4] f", more="f = Neg(x)")
    model = rewritten(parse(text), integer_edges.RULE)
    assert edges(model) == {"x": "FLOAT", "y": "INT8", "f": "FLOAT"}


def test_reals_that_are_read_inside_stay_inside() -> None:
    text = pooled("int8", outputs="float[N,3,4,4] y, float[N,3,4,4] f", more="f = Neg(y)")
    model = rewritten(parse(text), integer_edges.RULE)
    assert edges(model) == {"x": "INT8", "y": "INT8", "f": "FLOAT"}
    assert model.graph.node[-1].input == ["y.dequantized"]


def test_codes_that_leave_twice_get_a_copy() -> None:
    more = "v = DequantizeLinear(c, t, w)  u = DequantizeLinear(q, s, z)"
    outputs = "float[N,3,4,4] y, float[N,3,4,4] v, float[N,3,4,4] u"
    model = rewritten(parse(pooled("int8", outputs=outputs, more=more)), integer_edges.RULE)
    assert edges(model) == dict.fromkeys(("x", "y", "v", "u"), "INT8")
    copies = [(n.input[0], n.output[0]) for n in model.graph.node if n.op_type == "Identity"]
    assert copies == [("y", "v"), ("x", "u")]


def run(model: onnx.ModelProto, codes: np.ndarray, *, optimised: bool) -> np.ndarray:
    options = ort.SessionOptions()
    level = ort.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if optimised else level.ORT_DISABLE_ALL
    return ort.InferenceSession(model.SerializeToString(), options).run(None, {"x": codes})[0]


@pytest.mark.parametrize("kind", ["uint8", "int8", "int4", "uint4"])
def test_a_dialect_keeps_codes_and_signs_of_its_edges(kind: str) -> None:
    """Every code of the type through Abs: the same numbers in and out as in real arithmetic."""
    canonical = rewritten(parse(pooled(kind)), integer_edges.RULE)
    model = translate(canonical, RUNTIME)
    onnx.checker.check_model(model, full_check=True)
    wide = "INT8" if kind.startswith("i") else "UINT8"
    assert edges(model) == {"x": wide, "y": wide}
    inside = {
        node.output[0]: onnx.numpy_helper.to_array(init).dtype
        for node in model.graph.node
        for init in model.graph.initializer
        if node.op_type == "QuantizeLinear" and init.name == node.input[2] and node.output[0] != "y"
    }
    assert inside == {} if kind == "uint8" else set(inside.values()) == {np.dtype(np.uint8)}
    bits, signed = (4 if "4" in kind else 8), kind.startswith("i")
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    codes = np.resize(np.arange(low, high + 1), (6, 3, 4, 4)).astype(wide.lower())
    reals = np.abs((codes.astype(np.int64) - 1).astype(np.float32) * np.float32(0.1))
    expected = np.clip(np.rint(reals / np.float32(0.2)).astype(np.int64) + 2, low, high)
    for file in (model, feedable(canonical)):
        for optimised in (True, False):
            found = run(file, codes, optimised=optimised)
            assert found.dtype == np.dtype(wide.lower())
            np.testing.assert_array_equal(found, expected)


def test_float_edges_and_bytes_are_fed_as_they_are() -> None:
    floats = parse(pooled("int4"))
    assert feedable(floats) is floats
    model = rewritten(parse(pooled("int8")), integer_edges.RULE)
    assert feedable(model) is model


def test_a_clamped_output_of_codes_keeps_its_node() -> None:
    """Bytes in the canonical file: a Clip of codes stands between QuantizeLinear and the edge."""
    for recipe in (Recipe(activation_bits=8), Recipe(activation_bits=6)):
        profile = profile_with(
            "lowbit-vlsi", container__subbyte="widened", container__int_types=["s8", "u8", "s32"]
        )
        for body in (lambda m, x: m.a(x).clamp(0.05, 0.3), lambda m, x: m.b(F.relu(m.a(x)))):
            net = Net(body, a=conv(3, 4, bias=True), b=conv(4, 4, bias=True)).eval()
            prepared = calibrated(net, profile, recipe)
            canonical = to_proto(lower(prepared, profile, Edges.INTEGER))
            runtime = translate(canonical, RUNTIME)
            assert edges(runtime) == edges(canonical)
            kind = np.int8 if edges(canonical)["x"] == "INT8" else np.uint8
            low = -32 if kind == np.int8 else 0
            codes = np.arange(low, low + 108).clip(low, low + 63).reshape(1, 3, 6, 6).astype(kind)
            names = [value.name for value in canonical.graph.output]
            for optimised in (True, False):
                found = [run(file, codes, optimised=optimised) for file in (canonical, runtime)]
                # the canonical file runs in float: a code at a tie may be one away
                gap = np.abs(found[0].astype(int) - found[1].astype(int))
                assert names and gap.max() <= 1 and (gap > 0).mean() <= 0.01
