"""Biases behind the multiplication: recorded sums without them, ties and edges with them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import deployq
from deployq.arithmetic.contract import Accumulator, Form, Kind, Rounding
from deployq.arithmetic.multiplier import FixedMultiplier
from deployq.arithmetic.rounding import shift_right
from deployq.errors import UnsupportedError
from deployq.golden_vectors.cases import Case
from deployq.golden_vectors.step_sums import step_sums
from deployq.qparams import QParams
from deployq.qtypes import QType
from deployq_exporters.golden.layer_data import layer_items
from deployq_exporters.golden.plans import Plan
from deployq_exporters.golden.scaling import Scaling, of_real
from deployq_exporters.golden.trace import Layer, Source, Trace
from deployq_targets import TargetProfile, load_profile
from tests.commands import run_command
from tests.golden_vectors.programs import (
    FLAGS,
    built,
    merged,
    needs_gcc,
    ran,
    reals,
    sanitized,
    traced,
    written,
)
from tests.golden_vectors.test_flips import arrays_of, flipped
from tests.graph.networks import profile_with
from tests.qgraph.texts import qdq, read

LATE = {"bias__order": "after_scale", "bias__scale_rule": "free"}
CONV = """wd = DequantizeLinear <axis = 0> (w, sw4, zw4)
    bd = DequantizeLinear <axis = 0> (b, sb4)
    v = Conv <pads = [1, 0, 0, 1], strides = [2, 1]> (xd, wd, bd)"""
ONE_SCALE = """wd = DequantizeLinear(w, sw)
    bd = DequantizeLinear <axis = 0> (b, sb4)
    v = Conv(xd, wd, bd)"""
GEMM = """wd = DequantizeLinear <axis = 1> (m, sw4, zw4)
    bd = DequantizeLinear <axis = 0> (b, sb4)
    v = Gemm(xd, wd, bd)"""
ODD: dict[str, Any] = {"sy": np.float32(1), "sw4": np.float32([129, 255, 201, 173]) / 256}
"""Mantissas of 8 bits that are odd: then sums differ by less than a step of the bias."""
SHORT = {"requant__multiplier_bits": 8}
FORMS: dict[str, dict[str, Any]] = {
    "own shifts": SHORT,
    "shared shift": {**SHORT, "requant__shift_scope": "layer"},
    "wide": {},
    "wrapped sums": {**SHORT, "accumulator__bits": 16, "accumulator__overflow": "wrap",
                     "bias__signed_bits_max": 32},
}  # fmt: skip
ROUNDINGS = ("half_up", "half_even", "half_away", "half_down", "half_zero", "floor", "trunc")


def late(base: str = "int8-npu", **changes: Any) -> TargetProfile:
    return profile_with(base, **LATE, **changes)


def biased(rng: np.random.Generator) -> dict[str, Any]:
    """Codes on a scale of their own."""
    return {"b": rng.integers(-9000, 9000, 4).astype(np.int32),
            "sb4": rng.uniform(0.0002, 0.003, 4).astype(np.float32)}  # fmt: skip


@needs_gcc
def test_a_bundle_of_a_target_with_late_biases(
    bundles: Callable[[str], Path], tmp_path: Path
) -> None:
    made = deployq.export_golden(bundles("int2-vlsi"), tmp_path / "golden", samples=3)
    code, text = ran(built(tmp_path / "golden/c/golden.c", tmp_path / "program"))
    assert code == 0 and {"-Wall", "-Wextra", "-Werror", "-pedantic"} < set(FLAGS), text
    facts: Any = made.facts["golden"]
    orders = {layer["op"]: layer.get("bias_order") for layer in facts["layers"]}
    assert {op: orders[op] for op in ("Conv", "Gemm", "Add")} == {
        "Conv": "after_scale", "Gemm": "after_scale", "Add": None,
    }  # fmt: skip
    for layer in facts["layers"]:
        if "bias_order" in layer:
            arrays = np.load(tmp_path / "golden" / layer["arrays"])
            _check_recorded(arrays, layer)


def _check_recorded(arrays: Any, layer: Any) -> None:
    """``clip((sum * multiplier + bias + half) >> shift)``, and no bias in the sum of zero codes."""
    for source in ("data", "designed"):
        total = arrays[f"{source}/sum"].astype(np.int64)
        shape = [1, -1, *[1] * (total.ndim - 2)]
        mantissa, shift, bias = (
            arrays[name].astype(np.int64).reshape(shape) for name in ("multiplier", "shift", "bias")
        )
        codes = (total * mantissa + bias + (1 << (shift - 1))) >> shift
        codes = np.clip(codes + layer["steps"][0]["offset"], *layer["clip"])
        np.testing.assert_array_equal(arrays[f"{source}/output"], codes)
    at_zero = [i for i, row in enumerate(layer["vectors"]["designed"]["reaches"])
               if Case.ZERO_POINT in row]  # fmt: skip
    assert at_zero and not arrays["designed/sum"][at_zero].any() and arrays["bias"].any()


def cases() -> Iterator[tuple[str, Layer, Trace]]:
    """One layer of each form, rounding and operator, with biases of both kinds."""
    rng, x = np.random.default_rng(1), reals((2, 3, 6, 5), -1, 40)
    profiles = {name: late(**form) for name, form in FORMS.items()}
    profiles |= {word: late(**SHORT, requant__rounding=word) for word in ROUNDINGS}
    for name, profile in profiles.items():
        for kind, body in {"conv": CONV, "one scale": ONE_SCALE}.items():
            graph = read(body, shape="N,3,6,5", **biased(rng))
            yield f"{name} {kind}", *_traced(graph, profile, x)
        graph = read(GEMM, shape="N,3", out="N,4", **biased(rng))
        yield f"{name} gemm", *_traced(graph, profile, x[:, :, 0, 0])
    on_sums = {"b": np.int32([100, -2000, 30, 4]), "sb4": np.float32([0.0625] * 4)}
    shift = late("max78000", bias__scale_rule_exp=None)
    yield "shift", *_traced(read(ONE_SCALE, shape="N,3,6,5", **on_sums), shift, x)
    yield "real", *_traced(read(CONV, shape="N,3,6,5", **biased(rng)), load_profile("tensorrt"), x)


def _traced(graph: Any, profile: Any, x: Any) -> tuple[Layer, Trace]:
    trace = traced(graph, profile, x)
    return trace.layers[0], trace


@needs_gcc
def test_every_form_in_c(tmp_path: Path) -> None:
    programs: dict[Accumulator, dict[str, Trace]] = {}
    for name, layer, trace in cases():
        assert layer.plan.scalings[0].late is not None, name
        programs.setdefault(trace.accumulator, {})[name] = trace
    for i, traces in enumerate(programs.values()):
        code, text = sanitized(written(merged(traces), tmp_path / f"golden{i}"))
        assert code == 0, text
    assert sum(map(len, programs.values())) == 3 * (len(FORMS) + len(ROUNDINGS)) + 2


def test_ties_and_extremes_count_the_bias() -> None:
    """``acc * M + b`` is half a step, written out; the sums are those of the weights alone."""
    rng = np.random.default_rng(5)
    profile = late(**SHORT)
    graph, seen = read(CONV, **biased(rng), **ODD), set()
    layer, _ = _traced(graph, profile, reals((1, 3, 8, 8)))
    scaling = layer.plan.scalings[0]
    assert scaling.late is not None
    shape = (1, 4, 1, 1)
    m, shift, b = (
        a.reshape(shape) for a in (scaling.mantissa, scaling.shift, scaling.late.mantissa)
    )
    for vectors in layer.vectors[1:]:
        assert vectors.sums is not None
        sums = vectors.sums if vectors.inputs else vectors.sums[:, :, None, None]
        value = sums * m + b
        tie = value & ((1 << shift) - 1) == 1 << (shift - 1)
        for case, sign in ((Case.TIE_ABOVE, 1), (Case.TIE_BELOW, -1)):
            expected = (tie & (np.sign(value) == sign)).any((1, 2, 3)).tolist()
            assert [case in row for row in vectors.reaches] == expected
            seen |= {case} if any(expected) else set()
    assert seen == {Case.TIE_ABOVE, Case.TIE_BELOW}
    reached = next(v.sums for v in layer.vectors if v.source is Source.DESIGNED)
    weight = np.arange(-6, 6).reshape(4, 3) - np.array([[0], [1], [-2], [3]])
    ends = np.stack([weight * -3, weight * 252])
    assert reached is not None
    assert (reached.min(), reached.max()) == (ends.min(0).sum(1).min(), ends.max(0).sum(1).max())


@needs_gcc
@pytest.mark.parametrize(
    "changes",
    [SHORT, {**SHORT, "requant__shift_scope": "layer"}, {**SHORT, "requant__rounding": "floor"}],
    ids=str,
)
def test_no_bit_of_a_late_bias_changes_unseen(changes: dict[str, Any], tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    weight = rng.integers(-128, 128, (4, 3, 1, 1)).astype(np.int8)
    graph = read(CONV, shape="N,3,5,5", w=weight, **biased(rng), **ODD)
    folder = written(traced(graph, late(**changes), reals((1, 3, 5, 5))), tmp_path / "golden")
    names = arrays_of(folder, "weight|scaling_0_bias|scaling_0_shift")
    found = flipped(folder, names)
    assert found["layer_0_scaling_0_bias"][0] == 4 * 32 and len(names) == 3
    assert {name: missed for name, (_, missed) in found.items()} == dict.fromkeys(names, 0)


@pytest.mark.parametrize("seed", range(30))
def test_the_step_sums_show_what_any_sum_shows(seed: int) -> None:
    """All sums within the limit, all bits: odd and even mantissas, every rounding of one step."""
    rng = np.random.default_rng(seed)
    mode, limit = Rounding(ROUNDINGS[seed % len(ROUNDINGS)]), 3000
    mantissa, shift = int(rng.integers(1, 256)), int(rng.integers(4, 15))
    bias = int(rng.integers(-(1 << 20), 1 << 20)) >> int(rng.integers(0, 14))
    one = np.array([mantissa]), np.array([shift])
    scaling = Scaling(*one, mode.value, late=FixedMultiplier(np.array([bias]), one[1]), offset=7)
    plan = Plan(op="conv", clip=(0, 255), scalings=(scaling,))

    def codes(sums: Any, steps: int) -> Any:
        return np.clip(shift_right(sums * mantissa + steps, shift, mode) + 7, 0, 255)

    every = np.arange(-limit, limit + 1)
    few = np.array(step_sums(plan, 0, limit))
    shown = {b for b in range(32) if (codes(every, bias ^ 1 << b) != codes(every, bias)).any()}
    assert shown == {b for b in shown if (codes(few, bias ^ 1 << b) != codes(few, bias)).any()}


def test_wide_steps_are_stored_in_64_bits() -> None:
    constants = {"b": np.int32([2**28, -(2**28), 5, 0]), "sb4": np.float32([0.25] * 4)}
    layer, trace = _traced(read(CONV, **constants), late(), reals((1, 3, 8, 8)))
    (bias,) = (item for item in layer_items(layer, trace) if item.name == "bias")
    assert bias.bits == 64 and int(bias.values.max()) >= 1 << 31
    real = bias.values * 2.0 ** -layer.plan.scalings[0].shift.astype(float)
    assert real.tolist() == [2**28, -(2**28), 5, 0]  # in codes: s_b is s_y


@pytest.mark.parametrize("target", ["int8-npu", "ort-cpu"])
def test_a_bias_without_a_place_is_refused(
    target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """A bias on a scale of its own, in a file for a target that adds the bias to the sums."""
    file, folder = tmp_path / "model.onnx", tmp_path / "golden"
    onnx.save(qdq(CONV, **biased(np.random.default_rng(0))), file)
    _, err, code = run_command(
        monkeypatch, capsys, "golden", file, "--target", target, "-o", folder
    )  # fmt: skip
    assert code == 2 and "node v (Conv), v.bias: the bias scale is the input scale times" in err
    assert not folder.exists()


def test_a_form_without_a_place_is_refused() -> None:
    out, form = QParams(QType(8, signed=False), np.float32(1)), Form(Kind.FLOAT32)
    with pytest.raises(UnsupportedError, match="a bias after the scale is added to accumulator"):
        of_real(0.5, form).with_late(np.ones(2), out, form)
