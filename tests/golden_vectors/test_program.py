"""The program in C recomputes what the simulator computed: every operator, every arithmetic."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deployq_exporters.golden.header import program_text
from deployq_exporters.golden.trace import Source, Trace
from tests.golden_vectors.programs import merged, needs_gcc, reals, sanitized, traced, written
from tests.graph.networks import counting, profile_with
from tests.qgraph.texts import model, qdq, read
from tests.simulator.nets import reals as images
from tests.simulator.nets import small_net

pytestmark = needs_gcc
FREE = ("ort-cpu", "int8-npu", "tensorrt")
"""Targets whose average pools take any scale."""
TARGETS = ("ort-cpu", "litert-ref", "litert-optimized", "litert-xnnpack", "ethos-u55-256")


def check(trace: Trace, tmp_path: Path) -> None:
    """Built and run; it says that it compared every code and the sums of designed vectors."""
    code, text = sanitized(written(trace, tmp_path / "golden"))
    vectors = [v for layer in trace.layers for v in layer.vectors]
    designed = [v for v in vectors if v.source is Source.DESIGNED and v.sums is not None]
    codes = sum(v.output.size for v in vectors)
    sums = sum(v.sums.size for v in designed if v.sums is not None)
    assert (code, text) == (0, f"{len(vectors)} runs, {codes} codes and {sums} sums equal\n")


def test_every_operator_that_a_runtime_has(tmp_path: Path) -> None:
    traces = {target: traced(small_net(17, ties=True), target, images(2)) for target in TARGETS}
    floats = {target + " free": traced(small_net(17), target, images(2)) for target in FREE}
    check(merged(traces | floats), tmp_path)


ROUNDINGS = ("half_even", "half_up", "half_away", "half_down", "half_zero", "floor", "trunc",
             "double", "double_half_up", "natural_plus_one")  # fmt: skip
CONV = """wd = DequantizeLinear <axis = 0> (w, sw4, zw4)
    bd = DequantizeLinear <axis = 0> (b, sb4)
    v = Conv <strides = [2, 1], pads = [1, 0, 0, 2]> (xd, wd, bd)"""
SB4 = {"sb4": np.float32(0.5) * np.float32([0.125, 0.25, 0.5, 1.0])}


def one_conv(body: str = CONV, **constants: Any) -> Any:
    return read(body, **(SB4 | constants))


def test_every_rounding_and_multiplier(tmp_path: Path) -> None:
    words: dict[str, dict[str, Any]] = {r: {"requant__rounding": r} for r in ROUNDINGS}
    words["short and shared"] = {"requant__multiplier_bits": 8, "requant__shift_scope": "layer"}
    words["split"] = {
        "requant__multiplier_bits": 11, "requant__post_shift": 14,
        "requant__scale_precision": "f32", "requant__zero_point": "accumulator",
    }  # fmt: skip
    x = reals((2, 3, 8, 8), -1, 20)
    traces = {name: traced(one_conv(), profile_with("int8-npu", **change), x)
              for name, change in words.items()}  # fmt: skip
    one_scale = "wd = DequantizeLinear(w, sw)\nk = Conv(xd, wd)\nv = Relu(k)"
    for rounding in ("half_even", "trunc"):
        counted = counting(requant__rounding=rounding)
        traces[f"thresholds {rounding}"] = traced(one_conv(), counted, x)
    clamped = "wd = DequantizeLinear(w, sw)\nk = Conv(xd, wd)\nv = Clip(k, low, high)"
    ends = {"low": np.float32(3), "high": np.float32(30)}
    traces["thresholds of a layer, clamped"] = traced(one_conv(clamped, **ends), counting(), x)
    traces["shift"] = traced(one_conv(one_scale), "max78000", x)
    check(merged(traces), tmp_path)


def test_thresholds_of_a_narrow_accumulator(tmp_path: Path) -> None:
    """Its sums reach the first thresholds always, and the last ones never."""
    words = {"accumulator__bits": 16, "accumulator__overflow": "wrap", "bias__signed_bits_max": 32}
    coarse = one_conv(sy=np.float32(970), zy=np.uint8(128))
    trace = traced(coarse, counting(**words), reals((2, 3, 8, 8), -1, 130))
    (layer,) = trace.layers
    assert layer.plan.scalings[0].counted is not None
    held = layer.plan.scalings[0].counted.held(trace.accumulator)
    assert (held.min(), held.max()) == (-(1 << 15), 1 << 15)
    check(trace, tmp_path)


def test_products_beyond_64_bits(tmp_path: Path) -> None:
    """Biases of 47 bits and a scale that leaves 16 of them; by another all saturate."""
    once, x = [r for r in ROUNDINGS if "double" not in r], reals((2, 3, 8, 8), -1, 20)
    bias, traces = np.int32([1 << 27, -(1 << 27), 3 << 25, 5]) + np.arange(4, dtype=np.int32), {}
    for rounding in once:
        stated = {"requant__rounding": rounding, "accumulator__bits": 48}
        wide = one_conv(sb4=SB4["sb4"] * 2**19, b=bias, sy=np.float32(2.0**27),
                        zy=np.uint16(32768), opset=21)  # fmt: skip
        near = one_conv(sb4=SB4["sb4"] * 2**19, b=bias, sy=np.float32(0.25))
        for name, graph in (("wide", wide), ("near", near)):
            trace = traced(graph, profile_with("int8-npu", **stated), x)
            traces[f"{name} {rounding}"] = trace
            sums = max(int(np.abs(v.sums).max()) for v in trace.layers[0].vectors
                       if v.sums is not None)  # fmt: skip
            assert sums > 1 << 45
    late = {"bias__order": "after_scale", "bias__scale_rule": "free", "accumulator__bits": 48}
    words = {"w": np.full((4, 3, 1, 1), 32767, np.int16), "zw4": np.zeros(4, np.int16)}
    words |= {"zx": np.uint16(0), "sx": np.float32(2.0**-11), "sy": np.float32(9830.4)}
    trace = traced(one_conv(**words, opset=21), profile_with("int8-npu", **late), x)
    (last,), own = trace.layers[0].plan.scalings, trace.layers[0].vectors
    sums = max(int(np.abs(v.sums).max()) for v in own if v.sums is not None)
    assert sums * int(last.mantissa.max()) > 1 << 63
    check(merged(traces | {"late": trace}), tmp_path)


@pytest.mark.parametrize("changes", [
    {"accumulator__bits": 16, "accumulator__overflow": "wrap", "bias__signed_bits_max": 32},
    {"accumulator__bits": 16, "accumulator__overflow": "saturate", "bias__signed_bits_max": 32},
    {"accumulator__bits": 48, "memory__code_order": "high_first"},
    {"memory__weight_packing": "bitserial", "align__cin": 4, "memory__code_order": "high_first"},
], ids=lambda changes: " ".join(map(str, changes.values())))  # fmt: skip
def test_accumulators_and_packings(changes: dict[str, Any], tmp_path: Path) -> None:
    profile = profile_with("int8-npu", **changes)
    wide = np.full((4, 3, 1, 1), 127, np.int8)
    trace = traced(one_conv(w=wide), profile, reals((2, 3, 8, 8), -1, 130))
    held = [v.sums for v in trace.layers[0].vectors if v.sums is not None]
    narrow = profile.accumulator.bits == 16  # 3 * 127 * 255 does not fit
    assert (max(int(np.abs(s).max()) for s in held) <= 1 << 15) == narrow
    check(trace, tmp_path)


def test_layers_of_a_target_whose_arithmetic_is_known_for_bytes_alone(tmp_path: Path) -> None:
    """Each bias rounds with the zero point in float32: the sums of one scale differ by channel."""
    one_scale = """wd = DequantizeLinear(w, sw)
        bd = DequantizeLinear(b, sb)
        v = Conv(xd, wd, bd)"""
    wide = np.int32([10, -(2**25) - 1, 2**26 + 3, 2**27 + 5])
    x, pool = reals((2, 3, 8, 8), -1, 20), "v = GlobalAveragePool(xd)"
    graphs = {"conv": one_conv(), "one scale": one_conv(one_scale, b=wide), "pool": one_conv(pool)}
    traces = {name: traced(graph, "qnn-htp", x) for name, graph in graphs.items()}
    scaling = traces["one scale"].layers[0].plan.scalings[0]
    assert scaling.folded is not None and len(set(scaling.folded.tolist())) > 1
    check(merged(traces), tmp_path)


LANES = {
    "sum": """cd = DequantizeLinear(c, sc, zc)
        v = Add(xd, cd)""",
    "doubled": "v = Add(xd, xd)",
    "product": """cd = DequantizeLinear(c, sc, zc)
        v = Mul(cd, xd)""",
    "square": "v = Mul(xd, xd)",
    "joined": """cd = DequantizeLinear(d, sc, zc)
        v = Concat <axis = 1> (xd, cd)""",
}  # fmt: skip


def test_lanes_of_sixteen_bits(tmp_path: Path) -> None:
    """Add, Mul and Concat of HTP, whose zero points come behind a first cut."""
    x, every = reals((1, 3, 8, 8), -1, 130), np.arange(256, dtype=np.uint8)
    wide = {"c": every[::12].reshape(1, 22)[:, :8], "d": every[:192].reshape(1, 3, 8, 8)}
    scales = {
        "sc": np.float32(0.31),
        "zc": np.uint8(77),
        "sy": np.float32(0.83),
        "zy": np.uint8(40),
    }
    traces = {
        name: traced(read(body, **wide | scales), "qnn-htp", x) for name, body in LANES.items()
    }
    for name, trace in traces.items():
        layer = trace.layers[-1]
        assert any(scaling.before for scaling in layer.plan.scalings), name
        (designed,) = (v for v in layer.vectors if v.source is Source.DESIGNED)
        reached = {case for row in designed.reaches for case in row}
        assert {"tie, positive", "lowest code", "highest code"} <= reached, name
        clipped = [i for i, row in enumerate(designed.reaches) if "saturation high" in row]
        assert all((designed.output[i] == 255).any() for i in clipped), name
    check(merged(traces), tmp_path)


T = np.random.default_rng(1).integers(-9, 10, (4, 2, 3, 3)).astype(np.int8)
W4 = "wd = DequantizeLinear <axis = 1> (t, sw2)\n"
BODIES = {
    "transposed": W4 + """v = ConvTranspose <strides = [2, 3], pads = [1, 1, 2, 1],
        output_padding = [1, 0], dilations = [1, 2]> (xd, wd)""",
    "transposed groups": W4 + "v = ConvTranspose <group = 2, strides = [2, 2]> (xd, wd)",
    "dilated groups": """wd = DequantizeLinear(t, sw)
        v = Conv <group = 2, dilations = [2, 1], pads = [2, 1, 0, 1]> (xd, wd)""",
    "matmul": "k = Transpose <perm = [0, 1, 3, 2]> (xd)\nv = MatMul(xd, k)",
    "constant matmul": "wd = DequantizeLinear(n, sw)\nv = MatMul(xd, wd)",
    "softmax": "v = Softmax <axis = -1> (xd)",
    "max pool": "v = MaxPool <kernel_shape = [3, 2], pads = [2, 0, 1, 1], strides = [2, 1]> (xd)",
    "mean, padded": """v = AveragePool <kernel_shape = [2, 2], pads = [1, 0, 0, 1],
        count_include_pad = 1> (xd)""",
    "concat": "k = Identity(xd)\nv = Concat <axis = 1> (xd, k)",
    "broadcast": "cd = DequantizeLinear(c, sw, zx)\nv = Add(xd, cd)",
    "swapped": "cd = DequantizeLinear(c, sw, zx)\nv = Add(cd, xd)",
    "product with a scalar": "cd = DequantizeLinear(seven, sw)\nv = Mul(cd, xd)",
    "table": "v = Sigmoid(xd)",
}  # fmt: skip
CONSTANTS = {
    "t": T, "sw2": np.float32([0.125, 0.5]), "n": np.arange(-6, 9, dtype=np.int8).reshape(5, 3),
    "c": np.uint8([[[7]], [[8]], [[9]], [[200]]]), "seven": np.uint8(7), "sy": np.float32(0.3),
}  # fmt: skip


def test_every_kind_of_node(tmp_path: Path) -> None:
    x = reals((2, 4, 6, 5), -2, 20)
    graphs = {name: read(body, shape="N,4,6,5", **CONSTANTS) for name, body in BODIES.items()}
    check(merged({f"{name} {target}": traced(graph, target, x)
                  for name, graph in graphs.items() for target in FREE}), tmp_path)  # fmt: skip


MOVES = [
    "v = Transpose <perm = [0, 3, 1, 2]> (xd)", "v = Transpose(xd)", "v = Flatten(xd)",
    "v = Slice(xd, starts, ends, where, steps)", "v = Pad(xd, pads)", "v = Pad(xd, crop)",
    'v = Pad <mode = "reflect"> (xd, pads)', 'v = Pad <mode = "edge"> (xd, pads)',
    "v = Resize(xd, roi, scales)", "u = Unsqueeze(xd, axes)\nv = Squeeze(u, axes)",
]  # fmt: skip
MOVED = {
    "starts": np.int64([-3, 1]), "ends": np.int64([2**62, -1]), "where": np.int64([2, -1]),
    "steps": np.int64([2, 1]), "pads": np.int64([0, 1, 2, 0, 0, 0, 3, 1]),
    "crop": np.int64([0, 0, -1, 2, 0, 0, 0, -2]), "roi": np.float32([]),
    "scales": np.float32([1, 1, 3, 2]), "axes": np.int64([-1, 0]), "sy": np.float32(0.3),
}  # fmt: skip


def test_every_movement(tmp_path: Path) -> None:
    x, traces = reals((2, 3, 6, 4)), {}
    for i, body in enumerate(MOVES):
        out = "a,b" if "Flatten" in body else "a,b,c,d"
        traces[f"{i}"] = traced(read(body, shape="N,3,6,4", out=out, **MOVED), "int8-npu", x)
    check(merged(traces), tmp_path)


def test_codes_of_sixteen_bits(tmp_path: Path) -> None:
    wide = {"zx": np.uint16(30000), "zy": np.uint16(500), "sx": np.float32(2**-8)}
    graph = read(CONV, **SB4 | wide, opset=21)
    check(traced(graph, "int8-npu", reals((1, 3, 8, 8), -100, 120)), tmp_path)


def test_a_clip_of_codes(tmp_path: Path) -> None:
    made = model("""g (float[N,4] x) => (float[N,4] y) {
        q = QuantizeLinear(x, sx, zx)
        c = Clip(q, ten, hundred)
        y = DequantizeLinear(c, sx, zx)
    }""", ten=np.uint8(10), hundred=np.uint8(100))  # fmt: skip
    check(traced(made, "int8-npu", reals((3, 4))), tmp_path)


def test_there_is_no_float_in_the_program(tmp_path: Path) -> None:
    folder = written(traced(qdq(BODIES["softmax"], shape="N,4,6,5", **CONSTANTS), "ort-cpu",
                            reals((1, 4, 6, 5))), tmp_path / "golden")  # fmt: skip
    text = program_text() + (folder / "c/golden.h").read_text()
    assert not re.search(r"\b(float|double|math\.h|long double)\b", text)
    assert set(re.findall(r"#include [<\"](.*)[>\"]", text)) == {
        "stddef.h", "stdint.h", "stdio.h", "inttypes.h", "golden.h",
    }  # fmt: skip
