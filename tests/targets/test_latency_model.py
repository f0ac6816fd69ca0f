"""The latency model: cycles worked out by hand, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.sweeps.sweep import S8, grid
from deployq.arithmetic.geometry import ConvGeometry, PoolGeometry
from deployq.errors import InputError
from deployq.qgraph.nodes import (
    Concat,
    Dequantize,
    Elementwise,
    IntegerGraph,
    Linear,
    Lookup,
    Move,
    Node,
    Pool,
    Quantize,
)
from deployq.qparams import QParams
from deployq.qtypes import QType
from deployq_targets import TargetProfile, load_profile
from deployq_targets.latency_model import Bound, ModelledLayer, model_latency
from deployq_targets.latency_model.array import Loop, round_up, way_of
from deployq_targets.latency_model.stored import entropy
from deployq_targets.machine import Align, Compute, Memory
from deployq_targets.words import Traffic

Shape = tuple[int, ...]
U55, U85 = load_profile("ethos-u55-256"), load_profile("ethos-u85-1024")
PLAIN = Compute(clock_hz=1000, macs_per_cycle={"w8a8": 8.0})


def chip(
    compute: Compute = PLAIN, memory: Memory | None = None, align: Align | None = None
) -> TargetProfile:
    """A profile that states nothing else of the machine."""
    sections = {"compute": compute, "memory": memory or Memory(), "align": align or Align()}
    return U55.model_copy(update=sections)


def conv(
    outputs: int, inputs: int, kernel: int = 1, *, groups: int = 1, x: str = "x", y: str = "y"
) -> Linear:
    weight = np.arange(outputs * inputs * kernel**2).reshape(outputs, inputs, kernel, kernel) % 256
    pad = kernel // 2
    return Linear(
        name=y, op_type="Conv", inputs=(x,), output=y, weight=weight - 128, bias=None,
        weight_qparams=grid(0.1), geometry=ConvGeometry(pads=(pad,) * 4, groups=groups),
    )  # fmt: skip


def gemm(inputs: int, outputs: int) -> Linear:
    weight = np.zeros((inputs, outputs), np.int64)
    return Linear(
        name="y", op_type="Gemm", inputs=("x",), output="y", weight=weight, bias=None,
        weight_qparams=grid(0.1),
    )  # fmt: skip


def layers(
    profile: TargetProfile, nodes: list[Node], qtype: QType = S8, **shapes: Shape
) -> tuple[ModelledLayer, ...]:
    """Of a graph whose every tensor has a shape here; x enters, the last node's output leaves."""
    qparams = {name: QParams(qtype, np.float32(0.1), np.asarray(0)) for name in shapes}
    graph = IntegerGraph(tuple(nodes), qparams, ("x",), (nodes[-1].output,))
    return model_latency(graph, shapes, profile).layers


def test_a_convolution_takes_the_tile_and_the_product_that_waste_least() -> None:
    # 64 positions are 16 tiles of 2 x 2; 16 channels of 3 x 3 cells: 9 steps of 32 channels, or
    # 3 x 2 steps of 8 channels and 4 cells: 64 * 16 * (16 * 12) / 256
    (layer,) = layers(U55, [conv(16, 16, 3)], x=(1, 16, 8, 8), y=(1, 16, 8, 8))
    assert layer.cycles[Bound.COMPUTE] == 768
    assert layer.cycles[Bound.LOADING] == 16 * 16 * 12 / 8
    assert layer.cycles[Bound.OUTPUT] == 16 * 64 / 4
    assert layer.macs == 64 * 16 * 16 * 9


def test_a_depthwise_layer_has_idle_multipliers_and_loads_their_zeros() -> None:
    node = conv(16, 1, 3, groups=16)
    (layer,) = layers(U55, [node], x=(1, 16, 8, 8), y=(1, 16, 8, 8))
    assert layer.cycles[Bound.COMPUTE] == 64 * 16 * 12 / 32
    assert layer.cycles[Bound.LOADING] == 16 * 12 * 8 / 8


def test_groups_are_rounded_up_each() -> None:
    align = Align(cin=8, cout=8)
    node = conv(8, 4, groups=2)
    (layer,) = layers(chip(align=align), [node], x=(1, 8, 2, 2), y=(1, 8, 2, 2))
    assert layer.cycles[Bound.COMPUTE] == 2 * 4 * 8 * 8 / 8


def test_one_row_of_a_gemm_waits_for_its_weights() -> None:
    (layer,) = layers(U55, [gemm(64, 10)], x=(1, 64), y=(1, 10))
    assert layer.cycles[Bound.COMPUTE] == 4 * 16 * 64 / 256
    assert layer.cycles[Bound.LOADING] == 16 * 64 / 8
    # weights of one value have no entropy; 10 bytes a channel at a byte a cycle, after 64 cycles
    assert layer.cycles[Bound.WEIGHTS] == 64 + 100
    # one block: its first 32 inputs come and 10 bytes go at 8 bytes a cycle, these in bursts that
    # are half full, each after 32 cycles; the output unit waits for what its channels read, 256
    # bytes in 64 cycles, and no less than a quarter of the block's way
    assert layer.fill == (32 + 32 / 8) + (32 + 2 * 10 / 8) + (128 + 100 / 256 * 64) / 4
    assert layer.bound is Bound.LOADING
    assert layer.total == layer.fill + 16 * 64 / 8
    assert layer.milliseconds == pytest.approx(layer.total / 500e6 * 1e3)


def test_compressed_weights_count_their_entropy() -> None:
    assert entropy(np.array([0, 1, 0, 1])) == 1
    assert entropy(np.zeros(5, np.int64)) == 0
    assert entropy(np.arange(256)) == 8


@pytest.mark.parametrize(
    ("memory", "expected"),
    [
        (Memory(external_bw=1000), 32),
        (Memory(external_bw=1000, external_latency=7), 39),
        (Memory(external_bw=1000, channel_bytes=3), 44),
        (Memory(external_bw=1000, weights_bytes=32), 0),
        (Memory(external_bw=1000, weights_bytes=31), 32),
        (Memory(), 0),
        (
            Memory(
                external_bw=1000, external_latency=10, channel_bytes=4,
                external_in_flight={Traffic.CHANNELS: 2},
            ),
            10 + 16 / 2 * 10,
        ),
    ],
)  # fmt: skip
def test_weights_come_from_outside_once(memory: Memory, expected: float) -> None:
    (layer,) = layers(chip(memory=memory), [conv(4, 8)], x=(1, 8, 1, 1), y=(1, 4, 1, 1))
    assert layer.cycles[Bound.WEIGHTS] == expected


def test_maps_that_do_not_fit_go_outside_the_small_ones_last() -> None:
    memory = Memory(shared_bytes=96, onchip_bw=8000, external_bw=1000)
    nodes: list[Node] = [conv(8, 8, y="a"), conv(4, 8, x="a", y="y")]
    first, second = layers(
        chip(memory=memory), nodes, x=(1, 8, 4, 4), a=(1, 8, 2, 2), y=(1, 4, 2, 2)
    )
    assert first.outside_bytes == 128
    assert second.outside_bytes == 0
    # 128 bytes of x share the way with 64 bytes of weights
    assert first.cycles[Bound.ACTIVATIONS] == 128
    assert first.total == 128 + 64
    assert second.cycles[Bound.ACTIVATIONS] == (32 + 16) / 8


def test_edges_outside_move_in_bursts_of_pixels() -> None:
    align = Align(cin=8, stored_channels=16)
    memory = Memory(onchip_bw=1000, external_bw=1000, edges_outside=True, external_burst=32)
    nodes: list[Node] = [conv(8, 3, y="a"), conv(8, 8, x="a", y="y")]
    first, second = layers(
        chip(memory=memory, align=align), nodes, x=(1, 3, 2, 2), a=(1, 8, 2, 2), y=(1, 8, 2, 2)
    )
    assert first.outside_bytes == 12
    assert first.cycles[Bound.ACTIVATIONS] == max(12 * 32 / 8, 4 * 16)
    assert second.cycles[Bound.ACTIVATIONS] == max(32 * 32 / 8, 4 * 16)


def test_a_sum_joins_the_layer_before_it_where_the_profile_says_so() -> None:
    nodes: list[Node] = [
        conv(8, 8, y="a"),
        Elementwise(name="s", op_type="Add", inputs=("x", "a"), output="y"),
    ]
    shapes = {name: (1, 8, 4, 4) for name in ("x", "a", "y")}
    alone = layers(U55, nodes, **shapes)
    assert [layer.operator for layer in alone] == ["Conv", "Add"]
    # 8 channels lie in a brick of 16, and are computed with its zeros
    assert alone[1].cycles[Bound.OUTPUT] == pytest.approx(16 * 16 * 0.75)
    (joined,) = layers(U85, nodes, **shapes)
    assert (joined.name, joined.fused) == ("y", ("a",))
    assert joined.cycles[Bound.OUTPUT] == 128 / 16 + 128 / 16


def test_a_sum_joins_the_longer_of_two_branches() -> None:
    nodes: list[Node] = [
        conv(8, 8, y="a"),
        conv(8, 8, x="a", y="b"),
        conv(8, 8, y="c"),
        Elementwise(name="s", op_type="Add", inputs=("b", "c"), output="y"),
    ]
    shapes = {name: (1, 8, 4, 4) for name in ("x", "a", "b", "c", "y")}
    found = layers(U85, nodes, **shapes)
    assert [(layer.name, layer.fused) for layer in found] == [("a", ()), ("c", ()), ("y", ("b",))]


def test_movement_takes_in_no_sum_however_deep() -> None:
    nodes: list[Node] = [
        conv(8, 8, y="a"),
        Move(name="m", op_type="Transpose", inputs=("x",), output="m"),
        Move(name="n", op_type="Transpose", inputs=("m",), output="n"),
        Elementwise(name="s", op_type="Add", inputs=("a", "n"), output="y"),
    ]
    shapes = {name: (1, 8, 4, 4) for name in ("x", "a", "m", "n", "y")}
    found = layers(U85, nodes, **shapes)
    assert [(layer.name, layer.fused) for layer in found] == [("m", ()), ("n", ()), ("y", ("a",))]


def test_what_is_read_twice_or_leaves_is_not_fused() -> None:
    nodes: list[Node] = [
        conv(8, 8, y="a"),
        Lookup(name="f", op_type="Sigmoid", inputs=("a",), output="b"),
        Elementwise(name="s", op_type="Mul", inputs=("a", "b"), output="y"),
    ]
    shapes = {name: (1, 8, 4, 4) for name in ("x", "a", "b", "y")}
    assert [layer.name for layer in layers(U55, nodes, **shapes)] == ["a", "b", "y"]
    assert [layer.name for layer in layers(U55, nodes[:2], **shapes)] == ["b"]


def test_movement_is_traffic_and_views_are_nothing() -> None:
    memory = Memory(onchip_bw=2000)
    nodes: list[Node] = [
        Quantize(name="q", op_type="QuantizeLinear", inputs=("r",), output="x"),
        Move(name="t", op_type="Transpose", inputs=("x",), output="t"),
        Move(name="f", op_type="Flatten", inputs=("t",), output="f"),
        Concat(name="c", op_type="Concat", inputs=("f", "f"), output="y", axis=1),
        Dequantize(name="d", op_type="DequantizeLinear", inputs=("y",), output="z"),
    ]
    profile = chip(memory=memory)
    found = layers(profile, nodes, x=(1, 4, 4), t=(1, 4, 4), f=(1, 16), y=(1, 32))
    assert [layer.name for layer in found] == ["t", "y"]
    assert [layer.total for layer in found] == [32 / 2, 64 / 2]
    assert all(layer.bound is Bound.ACTIVATIONS for layer in found)


@pytest.mark.parametrize("geometry", [None, PoolGeometry((4, 4))])
def test_a_global_mean_loads_ones(geometry: PoolGeometry | None) -> None:
    node = Pool(name="p", op_type="Pool", inputs=("x",), output="y", geometry=geometry)
    (layer,) = layers(U55, [node], x=(1, 8, 4, 4), y=(1, 8, 1, 1))
    assert layer.cycles[Bound.COMPUTE] == 4 * 8 * 16 / (8 if geometry else 32)
    assert layer.cycles[Bound.LOADING] == (0 if geometry else 8 * 16 * 8 / 8)


def test_what_the_profile_leaves_out_counts_for_nothing_and_is_named() -> None:
    graph = IntegerGraph((conv(8, 8),), {"x": grid(0.1), "y": grid(0.1)}, ("x",), ("y",))
    found = model_latency(graph, {"x": (1, 8, 2, 2), "y": (1, 8, 2, 2)}, chip())
    assert found.cycles == 4 * 8 * 8 / 8
    assert found.unstated == (
        "memory.onchip_bw", "memory.external_bw", "compute.weights_per_cycle",
        "compute.output_elems_per_cycle",
    )  # fmt: skip
    assert "not measured" in found.label
    assert found.left_out == ()


def test_cycles_before_a_layer_are_added() -> None:
    compute = PLAIN.model_copy(update={"latency_cycles": 5})
    (layer,) = layers(chip(compute), [conv(8, 8)], x=(1, 8, 1, 1), y=(1, 8, 1, 1))
    assert layer.total == 8 + 5


@pytest.mark.parametrize(
    ("compute", "bits", "key"),
    [
        (Compute(macs_per_cycle={"w8a8": 8.0}), 8, "compute.clock_hz"),
        (Compute(clock_hz=1000), 8, "compute.macs_per_cycle.w8a8"),
        (PLAIN, 4, "compute.macs_per_cycle.w8a4"),
    ],
)
def test_no_clock_or_no_rate_is_refused_by_its_key(compute: Compute, bits: int, key: str) -> None:
    qtype = QType(bits, signed=True)
    with pytest.raises(InputError, match=key):
        layers(chip(compute), [conv(8, 8)], qtype, x=(1, 8, 1, 1), y=(1, 8, 1, 1))


SIZES = st.integers(1, 40)


@given(rows=SIZES, columns=SIZES, inputs=SIZES, outputs=SIZES, cells=st.integers(1, 25))
def test_rounding_up_never_saves_cycles(
    rows: int, columns: int, inputs: int, outputs: int, cells: int
) -> None:
    loop = Loop(rows, columns, inputs, outputs, cells)
    ideal = rows * columns * inputs * outputs * cells / 256
    way = way_of(loop, 256, U55.align, U55.compute)
    assert way.computed >= ideal
    assert way.loaded >= inputs * outputs * cells / 8
    whole = Loop(round_up(rows, 2), round_up(columns, 2), inputs, round_up(outputs, 8), cells)
    assert way_of(whole, 256, U55.align, U55.compute) == way


@pytest.mark.parametrize(
    ("inputs", "cells", "product", "padded"),
    [
        (3, 9, 1, 8 * 12),  # 16 channels waste less than 64
        (16, 9, 1, 16 * 12),
        (24, 1, 1, 32 * 4),  # two blocks of 16
        (48, 1, 0, 48),
        (64, 1, 0, 64),  # one cell counts as two
        (64, 9, 1, 64 * 12),  # of equal uses the last: 64 * 9 and 64 * (5 + 4)
        (64, 10, 0, 64 * 10),  # nothing remains, and counts as two
        (96, 1, 0, 128),
    ],
)
def test_the_compiler_may_choose_by_its_own_count(
    inputs: int, cells: int, product: int, padded: int
) -> None:
    way = way_of(Loop(2, 2, inputs, 32, cells), 1024, U85.align, U85.compute)
    assert (way.product, way.computed) == (product, 4 * 32 * padded / 1024)
