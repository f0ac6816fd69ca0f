"""Any two sides: the reference, a file un-optimised, a file as deployed, a simulation."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import pytest

import deployq
from deployq import pipeline
from deployq.arithmetic.contract import QDQ
from deployq.data import Dataset
from deployq.divergence import comparing
from deployq.divergence.facts import Cause
from deployq.divergence.layer import Layer, layer_node
from deployq.divergence.notation import Way, open_side, parse_side, written_sides
from deployq.divergence.runtime_side import InRuntime
from deployq.divergence.sides import Array, Simulated
from deployq.errors import InputError
from deployq.graph.prepared_files import GRAPH_FILE, TENSOR_FILE
from deployq.opened_file import OpenedFile
from deployq.qgraph import read_graph
from deployq.simulator import run_graph
from deployq_targets import load_profile
from tests.divergence.planted import FIXED, convs, inputs, simulated, with_form
from tests.simulator.nets import reals, small_net

Bundles = Callable[[str], Path]
ORT = load_profile("ort-cpu").contract()


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every operator of ONNX Runtime's integer kernels, with many ties."""
    path = tmp_path_factory.mktemp("diff") / "net.onnx"
    onnx.save(onnx.shape_inference.infer_shapes(small_net(17, ties=True)), path)
    return path


@pytest.fixture(scope="module")
def digit(unseen: Dataset) -> dict[str, Array]:
    return {"x": unseen.inputs["x"][:32]}


@pytest.mark.parametrize("ways", ["reference sim", "reference@ort-cpu deployed",
                                  "sim@ort-cpu deployed", "sim@int4-npu reference"])  # fmt: skip
def test_sides_that_agree(ways: str, bundles: Bundles, digit: dict[str, Array]) -> None:
    """The runtime's file has the canonical codes in other containers, 128 higher."""
    a, b = written_sides([str(bundles("int4-npu")), *ways.split()])
    found = deployq.diff(a, b, digit)
    assert found.exit_code == 0
    assert {"x", "stem", "head"} <= {row.tensor for row in found.rows}
    assert found.compared > 50_000 and all(row.fed is not None for row in found.rows)


def test_a_prepared_model_on_disk_is_a_reference(
    bundles: Bundles, digit: dict[str, Array], tmp_path: Path
) -> None:
    for name in (GRAPH_FILE, TENSOR_FILE):
        shutil.copy(bundles("int4-npu") / name, tmp_path)
    other = f"reference:{bundles('int4-npu')}@litert-ref"
    found = deployq.diff(f"reference:{tmp_path}", other, digit)
    (explanation,) = found.explanations
    assert explanation.verdict == Cause.ROUNDING and explanation.node.startswith("Conv")


def clipped_on_codes() -> onnx.ModelProto:
    """As a dialect holds a narrow range: a byte, and a Clip on codes after it."""
    file = convs("")
    (written,) = (node for node in file.graph.node if "h" in node.output)
    written.output[0] = "h.codes.before_saturate"
    clip = onnx.helper.make_node("Clip", ["h.codes.before_saturate", "low", "high"], ["h"])
    file.graph.node.insert(list(file.graph.node).index(written) + 1, clip)
    for name, code in (("low", -20), ("high", 60)):
        file.graph.initializer.append(onnx.numpy_helper.from_array(np.int8(code), name))
    return file


def test_a_clip_of_the_container_is_part_of_its_layer() -> None:
    wide, narrow = (simulated(clipped_on_codes(), contract, name) for contract, name in (
        (FIXED, "A"), (with_form(multiplier_bits=8), "B")))  # fmt: skip
    assert "h.codes.before_saturate" not in wide.tensors and "h" in wide.tensors
    (explanation,) = deployq.diff(wide, narrow, inputs()).explanations
    assert (explanation.tensor, explanation.verdict) == ("h", Cause.MULTIPLIER)


def test_a_relu_that_onnx_runtime_drops_before_4_bits_is_named() -> None:
    """Its default optimisation takes any Relu before such a QuantizeLinear for redundant."""
    file = convs(zh=np.asarray(-3, ml_dtypes.int4), sh=np.float32(0.9))
    opened = OpenedFile(file, read_graph(file))
    deployed = InRuntime("deployed", opened, optimised=True)
    sides = [InRuntime("file", opened, optimised=False), Simulated("sim", opened, QDQ)]
    for pair in ((sides[0], deployed), (sides[1], deployed), (deployed, sides[1])):
        found = deployq.diff(*pair, inputs())
        (explanation,) = found.explanations
        assert explanation.verdict == Cause.FUSION
        assert [tried.text for tried in explanation.shown] == ["Relu or Clip dropped"]
        assert explanation.base == ("file" if pair[0] is sides[0] else "sim")


def test_float_against_integer_kernels(net: Path) -> None:
    found = deployq.diff(f"file:{net}", f"deployed:{net}", {"x": reals()}, layers=3)
    assert [e.node.split()[0] for e in found.explanations] == ["Add", "Mul", "AveragePool"]
    for explanation in found.explanations:
        assert Cause.FUSION in explanation.causes
        assert "integer kernels in place of float" in {t.text for t in explanation.shown}
    back = deployq.diff(f"sim:{net}@ort-cpu", f"file:{net}", {"x": reals()})
    assert "float kernels, as un-optimised" in {t.text for t in back.explanations[0].shown}


def test_flips_of_float_sums_are_named_as_nothing_else() -> None:
    """Exact sums alone give the other side's codes: no further change is claimed."""
    file = convs(zh=np.asarray(-3, ml_dtypes.int4), sh=np.float32(0.9))  # its layers run in float
    opened = OpenedFile(file, read_graph(file))
    runtime = InRuntime("file", opened, optimised=False)

    class Flipped(InRuntime):
        """A float kernel whose last bits lie elsewhere: one code flips."""

        def run(self, inputs, forced=None):  # type: ignore[no-untyped-def] # as the base
            codes = super().run(inputs, forced)
            codes["c"].flat[0] ^= 1
            return codes

    flipped = Flipped("flipped", opened, optimised=False)
    (explanation,) = deployq.diff(flipped, runtime, inputs()).explanations
    assert (explanation.different, explanation.causes) == (1, (Cause.FUSION,))


@pytest.mark.parametrize("optimised", [True, False])
def test_a_runtime_fed_its_own_codes_computes_the_same(net: Path, optimised: bool) -> None:
    side = InRuntime("file", pipeline.open_file(net), optimised=optimised)
    free = side.run({"x": reals()})
    fed = side.run({"x": reals()}, free)
    assert fed.keys() == free.keys() == side.tensors.keys()
    for tensor, codes in free.items():
        np.testing.assert_array_equal(codes, fed[tensor])


def test_a_layer_is_fed_the_codes_of_a(net: Path) -> None:
    """Every side recomputes a tensor from forced codes alone."""
    opened = pipeline.open_file(net)
    sides = [Simulated("sim", opened, ORT), InRuntime("deployed", opened, optimised=True)]
    first, second = list(sides[0].tensors)[:2]
    rng = np.random.default_rng(0)
    forced = {first: rng.integers(0, 256, (8, 3, 16, 16))}
    there, here = (side.run({"x": reals()}, forced) for side in sides)
    np.testing.assert_array_equal(there[second], here[second])
    assert not np.array_equal(there[second], sides[0].run({"x": reals()})[second])


def test_every_layer_is_recomputed_as_the_simulator_does() -> None:
    graph = read_graph(small_net(17))
    codes = run_graph(graph, ORT, {"x": reals()}).codes
    for node in graph.nodes[1:-1]:
        assert layer_node(graph, node.output) is node
        operands = tuple((codes[name], graph.qparams[name]) for name in node.inputs)
        layer = Layer.of(node, operands, graph.qparams[node.output], ORT)
        np.testing.assert_array_equal(layer.codes().numpy(), codes[node.output].numpy())


@pytest.mark.parametrize(("text", "way", "source", "target"), [
    ("reference:b", Way.REFERENCE, "b", None),
    ("sim:some/m.onnx@ort-cpu", Way.SIM, "some/m.onnx", "ort-cpu"),
    ("sim:a@b/m.onnx@my chip.toml", Way.SIM, "a@b/m.onnx", "my chip.toml"),
    ("file:C:/m.onnx", Way.FILE, "C:/m.onnx", None),
])  # fmt: skip
def test_notation(text: str, way: Way, source: str, target: str | None) -> None:
    named = parse_side(text)
    assert (named.way, str(named.source), named.target) == (way, source, target)


def test_a_path_with_an_at_is_a_path(tmp_path: Path) -> None:
    path = tmp_path / "m@2.onnx"
    path.touch()
    assert parse_side(f"sim:{path}").target is None


@pytest.mark.parametrize(("text", "rule"), [
    ("model.onnx", "a side says how it computes"),
    ("simulation:model.onnx", "a side says how it computes"),
    ("deployed:model.onnx@ort-cpu", "ONNX Runtime has its own arithmetic"),
])  # fmt: skip
def test_no_side(text: str, rule: str) -> None:
    with pytest.raises(InputError, match=rule):
        parse_side(text)


def test_a_file_without_a_target_is_not_simulated(net: Path) -> None:
    with pytest.raises(InputError, match="name a target"):
        open_side(f"sim:{net}")


def test_two_words_share_a_source() -> None:
    assert written_sides(["b", "reference", "sim@ort-cpu"]) == ("reference:b", "sim:b@ort-cpu")
    assert written_sides(["file:a", "deployed:b"]) == ("file:a", "deployed:b")
    with pytest.raises(InputError, match="two sides"):
        written_sides(["b"])


FLOAT = """<ir_version: 10, opset_import: ["" : 21]>
g (float[N,3,8,8] x) => (float[N,3,8,8] y) { y = Exp(x) }"""


def test_a_float_file_has_no_codes_to_agree_in() -> None:
    file = onnx.parser.parse_model(FLOAT)
    with pytest.raises(InputError, match=r"(?s)integer tensors.*no integer tensors"):
        deployq.diff(simulated(file), simulated(file), inputs())


def test_files_of_two_networks_share_no_tensor() -> None:
    other = convs()
    for node in other.graph.node:
        for names in (node.input, node.output):
            names[:] = [f"{n}_" if n in ("a", "h", "c") else n for n in names]
    with pytest.raises(InputError, match="one name and one scale"):
        deployq.diff(simulated(convs()), simulated(other), inputs())


def test_0_codes_are_no_agreement() -> None:
    class Empty(Simulated):
        def run(self, inputs, forced=None):  # type: ignore[no-untyped-def] # as the base
            return {name: codes[:0] for name, codes in super().run(inputs, forced).items()}

    sides = [Empty("A", simulated(convs()).file, FIXED) for _ in range(2)]
    with pytest.raises(InputError, match="0 codes compared are no agreement"):
        deployq.diff(*sides, inputs())


def test_two_shapes_of_a_tensor_are_refused() -> None:
    class Flat(Simulated):
        def run(self, inputs, forced=None):  # type: ignore[no-untyped-def] # as the base
            return {name: codes.ravel() for name, codes in super().run(inputs, forced).items()}

    with pytest.raises(InputError, match="one shape"):
        deployq.diff(simulated(convs()), Flat("B", simulated(convs()).file, FIXED), inputs())


@pytest.mark.parametrize("wrong", [{"z": reals()}, {"x": reals()}, {"x": np.zeros((2, 3, 8, 8))}])
def test_inputs_that_do_not_fit_are_refused(wrong: dict[str, Array]) -> None:
    with pytest.raises(InputError, match=r"inputs|x"):
        deployq.diff(simulated(convs()), simulated(convs()), wrong)


def test_sides_with_other_inputs_are_refused() -> None:
    other = convs()
    other.graph.input[0].name = other.graph.node[0].input[0] = "z"
    with pytest.raises(InputError, match="the same inputs"):
        deployq.diff(simulated(convs()), simulated(other), inputs())


def test_batches_give_what_one_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    sides = simulated(convs()), simulated(convs(""), label="B")
    whole = deployq.diff(*sides, inputs())
    monkeypatch.setattr(comparing, "MOST_CODES", 1500)  # two samples
    assert deployq.diff(*sides, inputs()).to_json() == whole.to_json()


def test_a_file_of_a_fixed_batch_is_run_in_such_batches(tmp_path: Path) -> None:
    file = convs()
    file.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2
    file.graph.output[0].type.tensor_type.shape.dim[0].dim_value = 2
    onnx.save(file, tmp_path / "m.onnx")
    free = InRuntime("free", simulated(convs()).file, optimised=False)
    found = deployq.diff(f"file:{tmp_path / 'm.onnx'}", free, inputs())
    assert (found.samples, found.exit_code, found.compared) == (8, 0, 8 * 64 * (3 + 4 + 2))
    with pytest.raises(InputError, match=r"(?s)whole batches.*a multiple of 2"):
        deployq.diff(f"file:{tmp_path / 'm.onnx'}", free, inputs(7))
