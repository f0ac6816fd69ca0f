"""TensorRT: engines built without a device, layers of the log, refusals and their rules."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from deployq.errors import InputError, UnsupportedError
from deployq_exporters.dialects import translate
from deployq_exporters.dialects.tensorrt import TENSORRT
from deployq_exporters.runtimes import tensorrt
from deployq_exporters.runtimes.tensorrt import Engine, build_engine, find_package, installed
from deployq_exporters.runtimes.tensorrt_layers import (
    EngineLayer,
    coverage,
    inspected_layers,
    logged_layers,
)
from deployq_exporters.runtimes.tensorrt_session import Session
from tests.exporters.graphs import HEADER, narrowed, parse
from tests.proprietary import proprietary

rtx = proprietary(installed("tensorrt_rtx"), "tensorrt-rtx")
AMPERE = ("8.6",)


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """Another package may be found in another test."""
    yield
    find_package.cache_clear()


def conv(
    *, zero_point: int = 0, weight_zero_point: int = 0, kind: str = "int8", bias: str = "b"
) -> str:
    """A named convolution between grids."""
    numbers = ", ".join(["3"] * 256)

    def each(value: object) -> str:
        return ", ".join([str(value)] * 16)

    made = "[bias] e = DequantizeLinear<axis = 0>(codes, ws, bz)" if bias == "e" else ""
    return f"""(float[N,16,8,8] x) => (float[N,16,8,8] y)
    <float s = {{0.1}}, {kind} z = {{{zero_point}}}, int8[16,16,1,1] w = {{{numbers}}},
     float[16] ws = {{{each(0.01)}}}, int8[16] wz = {{{each(weight_zero_point)}}},
     float[16] b = {{{each(0.5)}}}, int32[16] codes = {{{each(7)}}},
     int32[16] bz = {{{each(0)}}}, float t = {{0.2}}, int8 u = {{0}}>
    {{ [first] q = QuantizeLinear(x, s, z)  a = DequantizeLinear(q, s, z)
       [weight] d = DequantizeLinear<axis = 0>(w, ws, wz)
       {made}  [layer] c = Conv(a, d, {bias})  r = QuantizeLinear(c, t, u)
       y = DequantizeLinear(r, t, u) }}"""


@pytest.fixture(scope="module")
def built() -> Engine:
    return build_engine(parse(conv()), capabilities=AMPERE)


@rtx
def test_an_engine_is_built_without_a_device(built: Engine) -> None:
    assert len(built.plan) > 10_000
    assert built.package == f"tensorrt_rtx {find_package().version}"


@rtx
def test_a_convolution_on_codes_runs_in_int8() -> None:
    text = conv(bias="e")
    engine = build_engine(translate(parse(text), TENSORRT), capabilities=AMPERE)
    assert coverage(parse(text), engine.layers).in_int8 == ("layer",)


ON_REALS = {
    "reals": ("Conv(a, d", "Conv(x, d"),
    "another axis": ("d = DequantizeLinear<axis = 0>", "d = DequantizeLinear<axis = 1>"),
    "scales of channels": (
        "q = QuantizeLinear(x, s, z)  a = DequantizeLinear(q, s, z)",
        "q = QuantizeLinear<axis = 1>(x, ws, wz)  a = DequantizeLinear<axis = 1>(q, ws, wz)",
    ),
}


@rtx
@pytest.mark.parametrize("case", ON_REALS)
def test_a_convolution_that_becomes_float_is_seen(case: str) -> None:
    model = parse(conv().replace(*ON_REALS[case]))
    found = coverage(model, build_engine(model, capabilities=AMPERE).layers)
    assert (found.in_int8, found.others, found.share) == ((), ("layer",), 0.0)


@rtx
def test_weights_in_blocks_beside_reals_stay_int4() -> None:
    counts = (("3", 1024), ("0.01", 32), ("0", 32))
    codes, scales, zeros = (", ".join([text] * count) for text, count in counts)
    text = f"""(float[N,64] x) => (float[N,16] y)
    <int8[64,16] w = {{{codes}}}, float[2,16] ws = {{{scales}}}, int8[2,16] wz = {{{zeros}}}>
    {{ d = DequantizeLinear<axis = 0, block_size = 32>(w, ws, wz)  [product] y = MatMul(x, d) }}"""
    model = narrowed(parse(text), ("w", "wz"), onnx.TensorProto.INT4)
    (layer,) = build_engine(translate(model, TENSORRT), capabilities=AMPERE).layers
    assert (layer.inputs, layer.nodes) == (("Float",), ("product", "node_of_d"))
    assert "Int4" in layer.constants


@rtx
def test_warnings_are_kept() -> None:
    engine = build_engine(parse(conv(kind="uint8")), capabilities=AMPERE)
    assert any("Defaulting to INT8 instead" in text for text in engine.warnings)


REFUSED = {
    "zero point": (conv(zero_point=3), "first", "activation-zero-point", "Non-zero zero point"),
    "weight": (conv(weight_zero_point=2), "weight", "weight-zero-point", "Non-zero zero point"),
    "bias": (conv(bias="e"), "bias", "bias-form", "input has type Int32"),
    "int16": (conv(kind="int16"), "z", "integer-types", "Failed to import initializer"),
    "operator": (
        conv().replace("c = Conv(a, d, b)", "f = Conv(a, d, b)  [odd] h = Det(f)  c = Add(h, f)")
        .replace("[layer] f", "f"),
        "odd", "operator", "UNSUPPORTED_NODE",
    ),
}  # fmt: skip


@rtx
@pytest.mark.parametrize("case", REFUSED)
def test_what_the_parser_refuses_has_a_place_and_a_rule(case: str) -> None:
    text, where, rule, message = REFUSED[case]
    model = onnx.parser.parse_model(f"{HEADER} g {text}")
    with pytest.raises(UnsupportedError, match=f"the parser of tensorrt_rtx .*rule {rule}") as no:
        build_engine(model, capabilities=AMPERE)
    assert no.value.where == where and message in no.value.found
    assert "no device" not in no.value.found and "catchCudaError" not in no.value.found


@rtx
@pytest.mark.parametrize(
    ("names", "rule"), [(("z",), "activation-type"), (("w", "wz"), "weight-type")]
)
def test_what_the_builder_refuses_has_a_rule(names: tuple[str, ...], rule: str) -> None:
    model = narrowed(parse(conv()), names, onnx.TensorProto.INT4)
    with pytest.raises(UnsupportedError, match=f"the builder of tensorrt_rtx .*rule {rule}"):
        build_engine(model, capabilities=AMPERE)


@rtx
def test_unknown_capabilities_and_open_sizes_are_named() -> None:
    with pytest.raises(InputError, match="knows the compute capability") as no:
        build_engine(parse(conv()), capabilities=("3.5",))
    assert "8.6" in no.value.allowed
    open_sizes = parse(conv().replace("8,8] x", "H,8] x").replace("8,8] y", "H,8] y"))
    with pytest.raises(InputError, match="every size but the batch"):
        build_engine(open_sizes, capabilities=AMPERE)


@rtx
def test_a_package_for_the_device_alone_takes_no_capabilities(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tensorrt, "STATES_CAPABILITY", "nothing_of_this_name")
    with pytest.raises(InputError, match="builds for the device that is there"):
        build_engine(parse(conv()), capabilities=AMPERE)


@rtx
@pytest.mark.skipif(torch.cuda.is_available(), reason="says what happens without a device")
def test_an_engine_does_not_run_without_a_device(built: Engine) -> None:
    with pytest.raises(InputError, match="runs on a CUDA device"):
        Session(built.plan)


@rtx
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_an_engine_runs_on_a_device(built: Engine) -> None:
    session = Session(built.plan)
    outputs, elapsed = session.run({"x": np.zeros((1, 16, 8, 8), np.float32)})
    np.testing.assert_allclose(outputs["y"], 0.4, rtol=1e-6)  # 0.5 on steps of 0.2, half to even
    assert elapsed > 0
    assert session.layers()


@rtx
def test_a_residual_network_runs_in_int8(bundles: Callable[[str], Path]) -> None:
    model = translate(onnx.load(bundles("tensorrt") / "model.onnx"), TENSORRT)
    found = coverage(model, build_engine(model, capabilities=AMPERE).layers)
    assert found.share == 1.0 and len(found.in_int8) > 3


@pytest.mark.parametrize("broken", [False, True], ids=["missing", "broken"])
def test_a_package_that_is_not_there_is_named(
    monkeypatch: pytest.MonkeyPatch, broken: bool
) -> None:
    find_package.cache_clear()
    monkeypatch.setattr(tensorrt, "installed", lambda name="": broken)
    for name in tensorrt.PACKAGES:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(InputError, match="its package is installed") as no:
        build_engine(parse(conv()))
    assert "deployq[tensorrt-rtx]" in no.value.next_step
    assert ("does not load" in no.value.found) is broken


LOG = """Layers:
Name: quantize, LayerType: kgen, Inputs: [ { Name: x, Dimensions: [1,16], Datatype: Float, Format: (Linear) Row major }], Constants: [ { Name: k, Datatype: Float }], Outputs: [ { Name: q, Datatype: Int8 }], Metadata: [ONNX Layer: first]
Name: conv, LayerType: correlation, Inputs: [ { Name: q, Dimensions: [1,16], Format/Datatype: Int8 NC/32HW32 }], Constants: [ { Name: w, Datatype: Int8 }, { Name: b, Datatype: Float }], Outputs: [ { Name: c, Datatype: Float }], Metadata: [ONNX Layer: layer][ONNX Layer: weight]
I/O Tensors:
 Name: x, IOMode: Input
"""  # noqa: E501
LAYERS = (
    EngineLayer("quantize", "kgen", ("Float",), ("Float",), ("Int8",), ("first",)),
    EngineLayer(
        "conv", "correlation", ("Int8",), ("Int8", "Float"), ("Float",), ("layer", "weight")
    ),
)


def test_layers_are_read_from_the_log() -> None:
    assert logged_layers(LOG) == LAYERS
    assert logged_layers("another line") == ()
    assert [layer.multiplies_codes for layer in LAYERS] == [False, True]


SPELLED = {
    "TensorRT for RTX": {
        "Inputs": [{"Name": "q", "Format/Datatype": "Int8 NC/32HW32"}],
        "Constants": [{"Datatype": "Int8"}, {"Datatype": "Float"}],
        "Outputs": [{"Datatype": "Float"}],
    },
    "TensorRT 10": {
        "Inputs": [{"Format/Datatype": "Thirty-two wide channel vectorized row major Int8 format"}],
        "Outputs": [{"Format/Datatype": "Row major linear Float format"}],
        "Weights": {"Type": "Int8", "Count": 9}, "Bias": {"Type": "Float", "Count": 1},
    },
    "TensorRT 11": {
        "Inputs": [{"DataType": "Int8", "Format": "Row major linear"}],
        "Outputs": [{"DataType": "Float", "Format": "Row major linear FP32 format (kLINEAR)"}],
        "Weights": {"Type": "Int8", "Count": 9}, "Bias": {"Type": "Float", "Count": 1},
    },
}  # fmt: skip


@pytest.mark.parametrize("package", SPELLED)
def test_layers_are_read_from_the_inspector(package: str) -> None:
    layer = {
        "Name": "conv", "LayerType": "correlation", **SPELLED[package],
        "Metadata": "[ONNX Layer: layer]\x1e[ONNX Layer: weight]",
    }  # fmt: skip
    without_details = "a name alone"
    assert inspected_layers(json.dumps({"Layers": [without_details, layer]})) == LAYERS[1:]
    assert inspected_layers("{}") == ()
