"""OpenVINO's CPU plugin against the simulator; what ran in int8; what it refuses; what a user
without it sees.
"""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch.nn import functional as F

import deployq
from deployq.data import Dataset
from deployq.errors import InputError
from deployq.graph.recipe import Recipe
from deployq.qgraph import read_graph
from deployq.qgraph.edges import output_qparams
from deployq.runtimes.comparing import codes_apart
from deployq.runtimes.source import make_source
from deployq.simulator import run_graph
from deployq_calibration.calibration_settings import CalibrationSettings
from deployq_exporters.adapters import ADAPTERS, Load
from deployq_exporters.dialects import translate
from deployq_exporters.dialects.openvino import OPENVINO
from deployq_exporters.lowering import lower, to_proto
from deployq_exporters.rewrites import pad_before_average
from deployq_exporters.runtimes import openvino_package
from deployq_exporters.runtimes.openvino import Session
from deployq_exporters.runtimes.openvino_coverage import Coverage, Layer
from deployq_targets import TargetProfile, load_profile
from tests.exporters.attention import Block
from tests.exporters.graphs import operators, parse, rewritten, run
from tests.exporters.test_openvino_rewrites import (
    COUNTED,
    MAPS,
    NETWORKS,
    PARTED,
    ROUNDED,
    on_its_grid,
    summed,
)
from tests.graph.networks import (
    Net,
    calibrated,
    conv,
    images,
    product,
    profile_with,
    residual_for,
    with_entry,
)

installed = importlib.util.find_spec("openvino") is not None
openvino = pytest.mark.skipif(not installed, reason="needs deployq[openvino]")

X = images(64, seed=9).numpy()


def network(
    target: str | TargetProfile, bits: int | None = None
) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """The residual network's canonical file, and the same for OpenVINO."""
    prepared = residual_for(target, Recipe(activation_bits=bits))
    model = to_proto(lower(prepared, prepared.profile))
    return model, translate(model, OPENVINO)


@openvino
@pytest.mark.parametrize(("target", "bits"), NETWORKS)
def test_a_network_runs_in_int8_with_the_codes_of_its_file(target: str, bits: int | None) -> None:
    model, file = network(target, bits)
    session = Session(file)
    found = session.coverage()
    assert found.floats == found.unplaced == found.rounding_lost == ()
    assert set(found.nodes.values()) >= {"Conv", "Add", "Pad", "GlobalAveragePool", "Gemm"}
    assert all(found.runs_in_integers(node) for node in found.nodes)
    (name,) = session.outputs
    np.testing.assert_array_equal(on_its_grid(model, session.run({"x": X})[name]), run(model, X))


@openvino
def test_outputs_left_in_reals_are_rounded_by_the_adapter() -> None:
    profile = load_profile("openvino-cpu")
    model, file = network(profile)
    adapter, content = ADAPTERS["openvino"], file.SerializeToString()
    source = make_source(model, read_graph(model, joins_sums=True), profile)
    (found,) = adapter.load(source, content, Load()).run({"x": X}).outputs.values()
    (reals,) = Session(file).run({"x": X}).values()
    np.testing.assert_array_equal(found, run(model, X))
    assert (reals != found).any()


@openvino
def test_layers_have_the_codes_of_the_simulator() -> None:
    _, file = network("openvino-cpu")
    graph = read_graph(file, joins_sums=True)
    written = {name for node in file.graph.node for name in node.output}
    probes = [n.output for n in graph.nodes if n.writes_codes and n.output in written]
    found = Session(file, probes).run({"x": X})
    forced = {name: torch.from_numpy(found[name]) for name in probes}
    contract = load_profile("openvino-cpu").contract()
    codes = run_graph(graph, contract, {"x": X}, forced=forced).codes
    assert len(probes) == 7  # all but what Flatten moves and the output, which is left in reals
    for name in probes:
        np.testing.assert_array_equal(codes[name].numpy(), found[name], err_msg=name)


@openvino
def test_a_sum_in_its_convolution_loses_a_rounding() -> None:
    """The reason for ``part_sums``: where this fails, OpenVINO rounds, and the rewrite can go."""
    model, file = network(profile_with("openvino-cpu", graph__residual="q_both"))
    assert Session(model).coverage().rounding_lost == ("add",)
    (name,) = Session(model).outputs
    whole, parted = (Session(f).run({"x": X})[name] for f in (model, file))
    assert (whole != parted).sum() > 40  # of 320


@openvino
def test_what_runs_in_float_is_named() -> None:
    body = f"{ROUNDED} k = ConvTranspose(g, v)  m = Softmax(k) e = Slice(m, lo, hi)"
    more = "float[2,2,1,1] v = {1, 2, 3, 4}, int64[1] lo = {0}, int64[1] hi = {9}"
    file = parse(summed(body).replace("int8 wz = {0}", f"int8 wz = {{0}}, {more}"))
    labels = ["q", "a", "d", "conv", "p", "g", "turned", "soft", "cut", "y"]
    for node, label in zip(file.graph.node, labels, strict=True):
        node.name = label
    found = Session(file).coverage()
    assert found.nodes == {
        "conv": "Conv", "turned": "ConvTranspose", "soft": "Softmax", "cut": "Slice",
    }  # fmt: skip
    assert found.floats[:2] == ("turned", "soft") and found.runs_in_integers("conv")


@openvino
def test_a_normalization_is_in_float_though_no_layer_has_its_name() -> None:
    file = parse("""(float[N,4] x) => (float[N,4] y)
    <float s = {0.1}, uint8 z = {128}, float[4] w = {1, 2, 1, 2}, float[4] b = {0, 1, 0, 1}>
    { [first] q = QuantizeLinear(x, s, z)  a = DequantizeLinear(q, s, z)
      [norm] n = LayerNormalization(a, w, b)
      [last] r = QuantizeLinear(n, s, z)  y = DequantizeLinear(r, s, z) }""")
    found = Session(file).coverage()
    assert found.layer_of("norm") is None  # where one is named, the list of such names can go
    assert (found.floats, found.unplaced) == (("norm",), ())


@openvino
@pytest.mark.parametrize("rule", [{}, {"factor_zero_point": "zero"}], ids=["free", "zero"])
def test_a_product_of_activations_without_zero_points_runs_in_int8(rule: dict[str, str]) -> None:
    profile = with_entry("openvino-cpu", type="MatMul", **rule)
    prepared = calibrated(Net(product, a=conv(3, 4), b=conv(3, 4)), profile)
    model = to_proto(lower(prepared, prepared.profile))
    session = Session(translate(model, OPENVINO))
    assert session.coverage().runs_in_integers("matmul") is bool(rule)
    (found,) = session.run({"x": X}).values()
    (grid,) = output_qparams(read_graph(model)).values()
    apart = codes_apart(on_its_grid(model, found), run(model, X), float(grid.scale))
    assert apart.largest <= 1 and apart.different < 1e-3 * apart.compared  # its own float32 steps


@openvino
def test_attention_is_one_kernel_on_bytes() -> None:
    """Scores are reals that Softmax reads, and codes are moved without kernels between."""
    torch.manual_seed(0)
    prepared = deployq.prepare(Block().eval(), [torch.zeros(2, 3, 20, 16)], "openvino-cpu")
    x = np.random.default_rng(0).normal(size=(48, 3, 20, 16)).astype(np.float32)
    deployq.calibrate(prepared, Dataset({"x": x}), CalibrationSettings(corrections=()))
    model = to_proto(lower(prepared, prepared.profile))
    makers = {name: node for node in model.graph.node for name in node.output}
    (softmax,) = (node for node in model.graph.node if node.op_type == "Softmax")
    assert makers[softmax.input[0]].op_type == "MatMul"
    session = Session(translate(model, OPENVINO))
    found = session.coverage()
    layer = found.layer_of(softmax.name)
    assert layer is not None and layer.kind == "Subgraph"
    assert [found.nodes.get(name) for name in layer.covers].count("MatMul") == 2
    in_float = {found.nodes[name] for name in found.floats} - {"Reshape"}  # of patches, in float
    assert in_float == {"LayerNormalization", "Softmax", "Add"}
    (reals,), wanted = session.run({"x": x}).values(), run(model, x)
    apart = np.abs(reals - wanted) > 1e-3 * np.ptp(wanted)  # a tie of a Softmax turns some
    assert apart.mean() < 0.02 and np.abs(reals - wanted).max() < 0.02 * np.ptp(wanted)


@openvino
def test_weights_of_4_bits_run_in_float() -> None:
    """The kernel tells: OpenVINO states the precision i4 for the Gemm, and i8 for the sum."""
    model, _ = network("int4-npu")
    assert Session(model).coverage().floats == ("stem", "depth", "wide", "add", "head")


def test_a_node_begins_in_the_first_layer_that_computes_it() -> None:
    parts = [("Transpose", "f32"), ("FullyConnected", "i8"), ("Eltwise", "f32")]
    layers = tuple(Layer(kind, kind, f"jit_{at}", at, at, ("fc",)) for kind, at in parts)
    found = Coverage(layers, {"fc": "MatMul", "gone": "Reshape"})
    assert found.layer_of("fc") == layers[1] and found.runs_in_integers("fc")
    assert found.unplaced == ("gone",) and not found.runs_in_integers("gone")
    moved = Coverage(layers[:1], {"fc": "Transpose"})
    assert moved.layer_of("fc") == layers[0] and moved.floats == ("fc",)


@openvino
@pytest.mark.parametrize(
    ("inputs", "found"),
    [
        ({}, "nothing"),
        ({"x": MAPS.astype(np.float64)}, "float64"),
        ({"x": MAPS[:, :, :, :3]}, "incompatible"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(inputs: dict[str, Any], found: str) -> None:
    session = Session(parse(summed(PARTED["one"])))
    with pytest.raises(InputError) as caught:
        session.run(inputs)
    assert found in caught.value.found


UNKNOWN = '<ir_version: 10, opset_import: ["" : 21, "made.up" : 1]>'
NARROW = '<ir_version: 13, opset_import: ["" : 25]>'
REFUSED = {
    "garbage": (b"garbage", "Unable to read the model"),
    "operator": (
        onnx.parser.parse_model(f"{UNKNOWN} g (float[N] x) => (float[N] y) {{ y = made.up.T(x) }}"),
        "No conversion rule found for operations: made.up.T",
    ),
    "type": (
        onnx.parser.parse_model(
            f"""{NARROW} g (float[N] x) => (float[N] y) <float s = {{0.1}}, int2 z = {{0}}>
            {{ q = QuantizeLinear(x, s, z)  y = DequantizeLinear(q, s, z) }}"""
        ),
        "Unsupported data type INT2",
    ),
}


@openvino
@pytest.mark.parametrize("case", REFUSED)
def test_a_refused_file_has_the_message_of_openvino(case: str) -> None:
    model, message = REFUSED[case]
    with pytest.raises(InputError, match="OpenVINO must load the file") as caught:
        Session(model)
    assert message in caught.value.found and "Exception from" not in caught.value.found


IR = b"""<?xml version="1.0"?><net name="g" version="11"><layers>
<layer id="0" name="x" type="Parameter" version="opset1"><data shape="1" element_type="f32"/>
<output><port id="0" precision="FP32"><dim>1</dim></port></output></layer>
<layer id="1" name="y" type="Result" version="opset1">
<input><port id="0"><dim>1</dim></port></input></layer></layers>
<edges><edge from-layer="0" from-port="0" to-layer="1" to-port="0"/></edges></net>"""


@openvino
def test_a_file_of_another_format_is_refused() -> None:
    with pytest.raises(InputError, match="the file is ONNX"):
        Session(IR)


def test_the_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(InputError, match="package is installed") as caught:
        Session(b"")
    assert caught.value.next_step == "pip install 'deployq[openvino]'"


def _library(_: str) -> ModuleType:
    raise ImportError("libopenvino.so.2641: cannot open shared object file")


def test_a_library_that_does_not_load_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino_package, "importlib", SimpleNamespace(import_module=_library))
    with pytest.raises(InputError, match="loads on this machine") as caught:
        Session(b"")
    assert caught.value.found.startswith("libopenvino.so.2641")


@pytest.mark.parametrize("version", ["2025.4.1-20426", "2026.3.0", ""])
def test_an_older_version_is_refused(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    monkeypatch.setitem(sys.modules, "openvino", SimpleNamespace(__version__=version))
    with pytest.raises(InputError, match="known for the versions") as caught:
        Session(b"")
    assert version in caught.value.found and caught.value.allowed == "2026.4 or newer"


def test_a_message_without_text_names_the_error() -> None:
    assert openvino_package.said(RuntimeError("Exception from a.cpp:1:\n\n")) == "RuntimeError"


def test_a_rounding_is_lost_in_another_convolution_only() -> None:
    layer = Layer("first", "Convolution", "jit_I8", "u8", "u8", ("first", "q", "sum"))
    nodes = {"first": "Conv", "second": "Conv", "sum": "Add"}
    for read, lost in ((frozenset({"first"}), ()), (frozenset({"second"}), ("sum",)),
                       (frozenset[str](), ("sum",))):  # fmt: skip
        assert Coverage((layer,), nodes, {"sum": read}).rounding_lost == lost


@openvino
def test_a_sum_beside_another_convolution_stays_in_the_one_that_it_joins() -> None:
    network = Net(
        lambda m, x: F.relu(m.first(F.relu(m.stem(x))) + m.second(x)),
        stem=conv(3, 8), first=conv(8, 8), second=conv(3, 8),
    )  # fmt: skip
    made = calibrated(network.eval(), "openvino-cpu")
    model = to_proto(lower(made, made.profile))
    file = translate(model, OPENVINO)
    assert "MaxPool" not in operators(file)
    found = Session(file).coverage()
    assert found.rounding_lost == () and found.sums == {"second.sum": frozenset({"second"})}
    (name,) = Session(file).outputs
    apart = np.abs(Session(file).run({"x": X})[name] - run(model, X))
    assert (apart > 0).mean() < 1e-3  # float32 steps of its own, one code each


@openvino
def test_padding_that_an_average_counts_is_the_real_zero() -> None:
    model = parse(COUNTED)
    found = Session(rewritten(model, pad_before_average.RULE)).run({"x": MAPS})["y"]
    np.testing.assert_array_equal(found, run(model, MAPS))
    wrong = Session(model).run({"x": MAPS})["y"]  # when this holds, the rewrite can go
    assert np.abs(wrong.astype(int) - found).max() > 20
