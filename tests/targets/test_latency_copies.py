"""The latency model's movement: copies one by one, what is written in place, what moves nothing."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.sweeps.sweep import S8, grid
from deployq.arithmetic.geometry import ConvGeometry, PoolGeometry
from deployq.qgraph.nodes import Concat, IntegerGraph, Linear, Lookup, Move, Node, Pool
from deployq.qparams import QParams
from deployq_targets import TargetProfile, load_profile
from deployq_targets.latency_model import Bound, ModelledLayer, model_latency
from deployq_targets.machine import Align, Compute, Memory

Shape = tuple[int, ...]
U55 = load_profile("ethos-u55-256")
PLAIN = Compute(clock_hz=1000, macs_per_cycle={"w8a8": 8.0}, latency_cycles=100)


def chip(
    compute: Compute = PLAIN, memory: Memory | None = None, align: Align | None = None
) -> TargetProfile:
    """A profile that states nothing else of the machine."""
    sections = {"compute": compute, "memory": memory or Memory(), "align": align or Align()}
    return U55.model_copy(update=sections)


def saying(**facts: object) -> Compute:
    return PLAIN.model_copy(update=facts)


def conv(y: str, dilation: int = 1) -> Linear:
    """3 x 3 cells from and to 8 channels; of x."""
    return Linear(
        name=y, op_type="Conv", inputs=("x",), output=y, bias=None, weight_qparams=grid(0.1),
        weight=np.zeros((8, 8, 3, 3), np.int64),
        geometry=ConvGeometry(pads=(dilation,) * 4, dilations=(dilation,) * 2),
    )  # fmt: skip


def move(operator: str, x: str, y: str, **attributes: object) -> Move:
    return Move(name=y, op_type=operator, inputs=(x,), output=y, attributes=attributes)


def concat(*parts: str) -> Concat:
    return Concat(name="y", op_type="Concat", inputs=parts, output="y", axis=1)


def layers(profile: TargetProfile, nodes: list[Node], **shapes: Shape) -> tuple[ModelledLayer, ...]:
    """x enters, the last node's output leaves; what has no shape here is (1, 8, 4, 4)."""
    names = ["x", *(node.output for node in nodes)]
    known = {name: shapes.get(name, (1, 8, 4, 4)) for name in names}
    qparams = {name: QParams(S8, np.float32(0.1), np.asarray(0)) for name in known}
    graph = IntegerGraph(tuple(nodes), qparams, ("x",), (nodes[-1].output,))
    return model_latency(graph, known, profile).layers


def test_what_only_a_concat_reads_is_written_in_its_place() -> None:
    nodes: list[Node] = [conv("a"), conv("b"), concat("a", "b")]
    found = layers(chip(saying(joins_in_place=True)), nodes, y=(1, 16, 4, 4))
    assert [(layer.name, layer.joined) for layer in found] == [("a", "y"), ("b", "y")]
    found = layers(chip(), nodes, y=(1, 16, 4, 4))
    assert [(layer.name, layer.joined) for layer in found] == [
        ("a", None),
        ("b", None),
        ("y", None),
    ]


def test_other_operands_of_a_concat_are_copied_one_by_one() -> None:
    pool = Pool(
        name="b", op_type="MaxPool", inputs=("a",), output="b", geometry=PoolGeometry((1, 1))
    )
    nodes: list[Node] = [conv("a"), pool, concat("a", "b", "x")]
    profile = chip(saying(joins_in_place=True), Memory(onchip_bw=1000))
    *_, joined = layers(profile, nodes, y=(1, 24, 4, 4))
    # a is read twice and x is no layer's; each copy computes 128 elements, 8 at once, and reads
    # and writes as many bytes; each begins after 100 cycles
    assert (joined.name, joined.operator) == ("y", "Concat")
    assert joined.cycles[Bound.COMPUTE] == 2 * 128 / 8
    assert joined.cycles[Bound.ACTIVATIONS] == 2 * 256
    assert joined.total == 2 * (256 + 100)
    assert joined.bound is Bound.ACTIVATIONS


def test_constants_that_are_joined_come_from_outside() -> None:
    memory = Memory(onchip_bw=1000, external_bw=500)
    qparams = {name: QParams(S8, np.float32(0.1), np.asarray(0)) for name in ("x", "k", "y")}
    shapes = {"x": (1, 8, 4, 4), "k": (1, 8, 4, 4), "y": (1, 16, 4, 4)}
    constants = {"k": np.zeros(shapes["k"], np.int64)}
    graph = IntegerGraph((concat("x", "k"),), qparams, ("x",), ("y",), constants)
    profile = chip(saying(joins_in_place=True), memory)
    (joined,) = model_latency(graph, shapes, profile).layers
    assert joined.cycles[Bound.ACTIVATIONS] == 2 * 128 + 2 * 128
    assert joined.outside_bytes == 128


@pytest.mark.parametrize("attributes", [
    {"pads": [0, 0, 1, 2, 0, 3, 0, 1]},
    {"pads": [1, 2, 0, 0, 1, 3], "axes": [2, 3, -3]},
])  # fmt: skip
def test_a_pad_is_a_copy_of_each_side_and_one_of_the_middle(attributes: dict[str, object]) -> None:
    nodes: list[Node] = [move("Pad", "x", "y", **attributes)]
    memory = Memory(onchip_bw=1000, external_bw=500)
    (padded,) = layers(chip(saying(pads_by_sides=True), memory), nodes, y=(1, 11, 5, 7))
    # one row above, two columns left, one right, three channels behind; each side as large as the
    # whole on the other axes
    sides = [11 * 7, 11 * 5 * 2, 11 * 5, 3 * 5 * 7]
    assert padded.cycles[Bound.COMPUTE] == (sum(sides) + 128) / 8
    # the sides come from outside, at half a byte a cycle
    assert padded.cycles[Bound.ACTIVATIONS] == sum(sides) * 2 + 2 * 128
    assert padded.outside_bytes == sum(sides)
    assert padded.total == sum(sides) * 2 + 2 * 128 + 5 * 100


def test_without_sides_a_pad_is_one_pass() -> None:
    nodes: list[Node] = [move("Pad", "x", "y", pads=[0, 0, 1, 1, 0, 0, 1, 1])]
    (padded,) = layers(chip(saying(moves_as_pools=True)), nodes, y=(1, 8, 6, 6))
    assert padded.total == 8 * 36 / 8 + 100


@pytest.mark.parametrize(
    ("perm", "last", "names"),
    [
        ([0, 2, 3, 1], True, ["a"]),
        ([0, 2, 3, 1], False, ["a", "t"]),
        ([0, 3, 1, 2], True, ["a", "t"]),
    ],
)
def test_channels_come_last_for_nothing_where_a_layer_writes_them_so(
    perm: list[int], last: bool, names: list[str]
) -> None:
    nodes: list[Node] = [conv("a"), move("Transpose", "a", "t", perm=perm),
                         move("Reshape", "t", "y")]  # fmt: skip
    found = layers(chip(align=Align(channels_last=last)), nodes, t=(1, 4, 4, 8), y=(1, 128))
    assert [layer.name for layer in found] == names
    assert found[-1].views == (("t", "y") if len(names) == 1 else ("y",))


def test_a_tensor_that_others_read_too_is_transposed() -> None:
    nodes: list[Node] = [conv("a"), move("Transpose", "a", "t", perm=[0, 2, 3, 1]),
                         concat("t", "a")]  # fmt: skip
    found = layers(chip(align=Align(channels_last=True)), nodes, t=(1, 4, 4, 8), y=(1, 12, 4, 8))
    assert [layer.name for layer in found] == ["a", "t", "y"]


@pytest.mark.parametrize(
    ("most", "dilation", "cells"),
    [(None, 5, 9), (2, 1, 9), (2, 2, 9), (2, 3, 7 * 7), (2, 4, 5 * 5), (2, 5, 11 * 11)],
)
def test_larger_dilations_have_zeros_between_cells(
    most: int | None, dilation: int, cells: int
) -> None:
    (layer,) = layers(chip(saying(dilation_max=most)), [conv("y", dilation)])
    assert layer.cycles[Bound.COMPUTE] == 16 * 8 * 8 * cells / 8


def test_a_softmax_is_passes_over_elements_and_over_rows() -> None:
    node = Lookup(name="y", op_type="Softmax", inputs=("x",), output="y")
    compute = saying(passes={"Softmax": (3, 5)}, elements_per_cycle={"Softmax": 0.5})
    (layer,) = layers(chip(compute), [node], x=(6, 10), y=(6, 10))
    assert layer.cycles[Bound.OUTPUT] == (3 * 60 + 5 * 6) / 0.5
