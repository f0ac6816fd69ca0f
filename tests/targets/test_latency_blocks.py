"""The latency model's blocks: what is read again, what waits, what comes early."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.sweeps.sweep import S8, grid
from deployq.arithmetic.geometry import ConvGeometry, PoolGeometry
from deployq.qgraph.nodes import IntegerGraph, Linear, Move, Node, Pool
from deployq.qparams import QParams
from deployq_targets import TargetProfile, load_profile
from deployq_targets.latency_model import Bound, ModelledLayer, model_latency
from deployq_targets.latency_model.array import Loop, way_of
from deployq_targets.latency_model.blocks import Blocks, blocks_of
from deployq_targets.machine import Align, Compute, Memory
from deployq_targets.words import BlockPart, Traffic

Shape = tuple[int, ...]
U55, U85 = load_profile("ethos-u55-256"), load_profile("ethos-u85-1024")
WHOLE_BRICKS = Align(block=(8, 8, 8), stored_channels=8)
PLAIN = Compute(clock_hz=1000, macs_per_cycle={"w8a8": 8.0})


def chip(align: Align, memory: Memory, compute: Compute = PLAIN) -> TargetProfile:
    """A profile that states nothing else of the machine."""
    return U55.model_copy(update={"compute": compute, "memory": memory, "align": align})


def cut(loop: Loop, profile: TargetProfile) -> Blocks | None:
    rate = profile.compute.macs_per_cycle["w8a8"]
    return blocks_of(loop, way_of(loop, rate, profile.align, profile.compute), profile, 8)


def same(size: int, inputs: int, outputs: int, kernel: int = 1) -> Loop:
    """A convolution whose output is as large as its input."""
    source, window = (size, size), (kernel, kernel)
    return Loop(size, size, inputs, outputs, kernel**2, window=window, source=source)


def conv(outputs: int, inputs: int, *, groups: int = 1, x: str = "x", y: str = "y") -> Linear:
    weight = np.arange(outputs * inputs).reshape(outputs, inputs, 1, 1) % 256
    return Linear(
        name=y, op_type="Conv", inputs=(x,), output=y, weight=weight - 128, bias=None,
        weight_qparams=grid(0.1), geometry=ConvGeometry(groups=groups),
    )  # fmt: skip


def layers(profile: TargetProfile, nodes: list[Node], **shapes: Shape) -> tuple[ModelledLayer, ...]:
    qparams = {name: QParams(S8, np.float32(0.1), np.asarray(0)) for name in shapes}
    graph = IntegerGraph(tuple(nodes), qparams, ("x",), (nodes[-1].output,))
    return model_latency(graph, shapes, profile).layers


def test_without_a_largest_block_a_layer_is_whole() -> None:
    assert cut(same(8, 8, 8), chip(Align(), Memory())) is None


def test_a_block_is_as_large_as_its_buffers_allow() -> None:
    # two blocks of 4 x 8 positions and 8 channels are 512 sums, of 4 bytes each
    memory = Memory(block_buffers={BlockPart.SUMS: 2048})
    found = cut(same(8, 8, 8, 3), chip(WHOLE_BRICKS, memory))
    assert found is not None
    assert (found.output, found.source) == ((4, 8, 8), (6, 8, 8))
    assert (found.count, found.planes, found.depths) == (2, 2, 1)


@pytest.mark.parametrize(("copies", "planes"), [(2, 2), (1, 1)])
def test_one_block_at_a_time_may_be_larger(copies: int, planes: int) -> None:
    memory = Memory(block_buffers={BlockPart.SUMS: 2048}, block_copies=copies)
    found = cut(same(8, 8, 8, 3), chip(WHOLE_BRICKS, memory))
    assert found is not None and found.planes == planes


def test_inputs_and_sums_share_a_buffer_in_granules() -> None:
    # of 8 x 8: 2 * 64 * 8 inputs and 2 * 64 * 8 * 4 bytes of sums are 5120
    buffers = {BlockPart.TOGETHER: 5120}
    whole = cut(same(8, 8, 8), chip(WHOLE_BRICKS, Memory(block_buffers=buffers)))
    memory = Memory(block_buffers=buffers, block_granules={BlockPart.SUMS: 4095})
    parted = cut(same(8, 8, 8), chip(WHOLE_BRICKS, memory))
    assert whole is not None and whole.planes == 1
    assert parted is not None and parted.planes == 2
    memory = Memory(block_buffers=buffers, block_granules={BlockPart.SUMS: 5121})
    assert cut(same(8, 8, 8), chip(WHOLE_BRICKS, memory)) is None  # no room for one position


def test_channels_are_cut_where_they_are_stored_apart() -> None:
    memory = Memory(block_buffers={BlockPart.SUMS: 2 * 16 * 16 * 4})
    align = Align(block=(4, 4, 32), cout=8, stored_channels=16)
    found = cut(same(4, 64, 32), chip(align, memory))
    assert found is not None
    assert (found.output, found.planes, found.depths) == ((4, 4, 16), 1, 2)


@pytest.mark.parametrize(("equals", "output"), [(None, (1, 1, 8)), ((2, 4), (2, 4, 16))])
def test_of_blocks_that_read_as_much_the_profile_says_which(
    equals: tuple[int, int] | None, output: tuple[int, int, int]
) -> None:
    # a pool of one cell reads each once, whatever the block
    loop = Loop(8, 8, 1, 16, depthwise=True, pool=True, source=(9, 9))
    memory = Memory(block_buffers={BlockPart.SUMS: 2 * 128 * 4})
    align = Align(block=(8, 8, 16), cout=8, stored_channels=8, block_of_equals=equals)
    found = cut(loop, chip(align, memory))
    assert found is not None and found.output == output


@pytest.mark.parametrize(("source", "output"), [((4, 8), (4, 8, 8)), ((8, 8), (2, 8, 16))])
def test_blocks_that_hold_the_input_count_half(
    source: tuple[int, int], output: tuple[int, int, int]
) -> None:
    # two depths read 2 * 32 * 8 inputs and 16 * 8 weights, two planes 32 * 8 and 2 * 16 * 8
    loop = Loop(4, 8, 8, 16, source=source)
    memory = Memory(block_buffers={BlockPart.SUMS: 2 * 256 * 4})
    found = cut(loop, chip(Align(block=(4, 8, 16), cout=8, stored_channels=8), memory))
    assert found is not None and (found.output, found.held) == (output, source == (4, 8))


@given(
    size=st.integers(1, 40), inputs=st.integers(1, 80), outputs=st.integers(1, 160),
    kernel=st.sampled_from((1, 3, 5)),
)  # fmt: skip
def test_every_block_of_the_real_profiles_fits_and_covers(
    size: int, inputs: int, outputs: int, kernel: int
) -> None:
    for profile in (U55, U85):
        found = cut(same(size, inputs, outputs, kernel), profile)
        assert found is not None and profile.align.block is not None
        rows, columns, channels = found.output
        assert rows * columns * found.planes >= size**2
        assert channels * found.depths >= outputs
        assert found.count <= found.planes * found.depths
        assert all(a <= b for a, b in zip(found.output, profile.align.block, strict=True))
        room = profile.memory.block_buffers
        sums = 2 * rows * columns * channels * 4
        assert sums <= room.get(BlockPart.SUMS, room.get(BlockPart.TOGETHER, 0))


def test_each_block_reads_its_weights_and_its_edge_again() -> None:
    memory = Memory(onchip_bw=1000, external_bw=1000, block_buffers={BlockPart.SUMS: 64})
    profile = chip(Align(block=(1, 4, 2)), memory)
    (layer,) = layers(profile, [conv(2, 4)], x=(1, 4, 4, 4), y=(1, 2, 4, 4))
    # four rows of 4 x 2 sums; 8 weights for each of them
    assert layer.cycles[Bound.WEIGHTS] == 4 * 8
    assert layer.cycles[Bound.ACTIVATIONS] == 16 * 4 + 16 * 2


def test_before_the_first_and_after_the_last_block_only_a_part_works() -> None:
    memory = Memory(
        onchip_bw=4000, onchip_latency=5, weights_bytes=100, block_buffers={BlockPart.SUMS: 64}
    )
    compute = PLAIN.model_copy(update={"output_elems_per_cycle": 4.0})
    profile = chip(Align(block=(1, 4, 2)), memory, compute)
    (layer,) = layers(profile, [conv(2, 4)], x=(1, 4, 4, 4), y=(1, 2, 4, 4))
    # 16 bytes come and 8 go, each after 5 cycles; the output unit needs 8 cycles for four blocks
    assert layer.fill == (5 + 16 / 4) + (5 + 8 / 4) + 8 / 4
    assert layer.total == 16 * 8 / 8 + layer.fill
    assert layer.bound is Bound.COMPUTE


@pytest.mark.parametrize(
    ("most", "stage"),
    # a block takes 4 cycles to be multiplied and 2 to be written; 9 - 7 lie between its ends
    [(None, 4), (1, 4 + 2 + 2), (3, 4)],
)
def test_so_many_blocks_are_under_way_at_once(most: int | None, stage: float) -> None:
    memory = Memory(
        onchip_bw=4000, onchip_latency=5, weights_bytes=100, block_buffers={BlockPart.SUMS: 64}
    )
    facts = {"output_elems_per_cycle": 4.0, "blocks_in_flight": most}
    profile = chip(Align(block=(1, 4, 2)), memory, PLAIN.model_copy(update=facts))
    (layer,) = layers(profile, [conv(2, 4)], x=(1, 4, 4, 4), y=(1, 2, 4, 4))
    # of four blocks the first comes in 9 cycles and the last goes in 7
    handed = 2 if most is None else max(2, (4 + 2 + 2) / most)
    assert layer.total == 4 * stage + handed + 9 + 7


@pytest.mark.parametrize(
    ("lot", "waited"),
    # all at once in 20 cycles, or 5 lots of 8 bytes of 100 cycles each
    [(None, 20), (8, 5 * 100)],
)
def test_the_output_unit_waits_for_biases_lot_by_lot(lot: int | None, waited: float) -> None:
    memory = Memory(
        external_bw=2000, external_latency=100, channel_bytes=10, channel_lot=lot,
        block_buffers={BlockPart.SUMS: 10**6},
    )  # fmt: skip
    profile = chip(Align(block=(8, 8, 8)), memory)
    (layer,) = layers(profile, [conv(4, 4)], x=(1, 4, 8, 8), y=(1, 4, 8, 8))
    assert layer.total == 128 + waited


def test_weights_that_are_read_once_are_copied_where_reading_them_near_wins_the_wait_back() -> None:
    memory = Memory(
        onchip_bw=8000, external_bw=2000, external_latency=10, shared_bytes=10**6,
        stages_weights=True, channel_bytes=10, channel_lot=8,
    )  # fmt: skip
    nodes: list[Node] = [conv(4, 4, y="a"), conv(4, 4, x="a", y="y")]
    shapes = {name: (1, 4, 8, 8) for name in ("x", "a", "y")}
    first, second = layers(chip(Align(block=(8, 8, 8)), memory), nodes, **shapes)
    # 16 bytes of weights and 40 of biases come in 10 + 28 cycles, straight or copied; near the
    # weights take 2 more. The first layer would wait for the copy, the second does not
    assert first.cycles[Bound.WEIGHTS] == 10 + 28
    assert first.fill == 32 + 32 + 5 * 10  # one block comes and goes
    assert second.cycles[Bound.WEIGHTS] == 40 / 2
    assert second.fill == 32 + 32


@pytest.mark.parametrize(("channels", "first"), [(None, 32), (4, 16)])
def test_a_part_of_the_staged_weights_must_be_there_before(
    channels: int | None, first: float
) -> None:
    memory = Memory(
        onchip_bw=1e6, external_bw=1000, external_latency=0, stages_weights=True,
        staged_channels=channels, block_buffers={BlockPart.SUMS: 64},
    )  # fmt: skip
    profile = chip(Align(block=(1, 1, 8)), memory)
    (layer,) = layers(profile, [conv(8, 4)], x=(1, 4, 4, 4), y=(1, 8, 4, 4))
    # straight from outside 16 blocks would take 32 cycles each; a layer takes 4 * 16 cycles
    assert layer.cycles[Bound.WEIGHTS] == 32 + 64 * first / 32
    assert layer.fill == pytest.approx(first, abs=1)


@pytest.mark.parametrize(
    ("stages", "room", "weights"),
    [
        (False, 10**6, 4 * (100 + 8)),
        # copied while the layer before computes; then 32 bytes come from near
        (True, 10**6, 32 / 16),
        (True, 100, 4 * (100 + 8)),  # two maps of 64 and 32 bytes are there already
    ],
)
def test_weights_of_several_blocks_are_copied_where_there_is_room(
    stages: bool, room: int, weights: float
) -> None:
    memory = Memory(
        onchip_bw=16000, external_bw=1000, external_latency=100, shared_bytes=room,
        stages_weights=stages, block_buffers={BlockPart.SUMS: 64},
    )  # fmt: skip
    profile = chip(Align(block=(1, 4, 2)), memory)
    nodes: list[Node] = [conv(4, 4, y="a"), conv(2, 4, x="a", y="y")]
    first, second = layers(profile, nodes, x=(1, 4, 4, 4), a=(1, 4, 4, 4), y=(1, 2, 4, 4))
    assert first.total > 100
    assert second.cycles[Bound.WEIGHTS] == weights


def test_weights_that_are_read_once_are_not_copied_where_that_takes_longer() -> None:
    memory = Memory(onchip_bw=16000, external_bw=1000, external_latency=100, stages_weights=True)
    profile = chip(Align(block=(8, 8, 8)), memory)
    nodes: list[Node] = [conv(4, 4, y="a"), conv(2, 4, x="a", y="y")]
    _, second = layers(profile, nodes, x=(1, 4, 4, 4), a=(1, 4, 4, 4), y=(1, 2, 4, 4))
    assert second.cycles[Bound.WEIGHTS] == 100 + 8


def test_not_all_that_can_be_under_way_is() -> None:
    memory = Memory(
        onchip_bw=1e6, onchip_latency=10, onchip_in_flight={Traffic.RESULTS: 8},
        in_flight_share=0.5,
    )  # fmt: skip
    (layer,) = layers(chip(Align(), memory), [conv(4, 8)], x=(1, 8, 2, 2), y=(1, 4, 2, 2))
    assert layer.cycles[Bound.ACTIVATIONS] == 16 / (8 * 0.5) * 10
    assert layer.bound is Bound.ACTIVATIONS


@pytest.mark.parametrize(("apart", "read"), [(True, 2 * 16), (False, 16)])
def test_groups_that_run_apart_read_whole_bricks(apart: bool, read: int) -> None:
    compute = PLAIN.model_copy(update={"groups_apart": apart})
    align = Align(block=(8, 8, 16), stored_channels=16)
    nodes: list[Node] = [conv(16, 16, y="a"), conv(16, 8, groups=2, x="a", y="b"),
                         conv(16, 16, x="b", y="y")]  # fmt: skip
    shapes = {name: (1, 16, 2, 2) for name in ("x", "a", "b", "y")}
    _, grouped, _ = layers(chip(align, Memory(onchip_bw=1000), compute), nodes, **shapes)
    assert grouped.cycles[Bound.ACTIVATIONS] == 4 * read + 4 * read


@pytest.mark.parametrize(("apart", "waits"), [(True, 2), (False, 1)])
def test_groups_that_run_apart_wait_for_their_weights_each(apart: bool, waits: int) -> None:
    compute = PLAIN.model_copy(update={"groups_apart": apart})
    memory = Memory(external_bw=1000, external_latency=100)
    profile = chip(Align(block=(8, 8, 8)), memory, compute)
    (layer,) = layers(profile, [conv(4, 2, groups=2)], x=(1, 4, 2, 2), y=(1, 4, 2, 2))
    assert layer.cycles[Bound.WEIGHTS] == waits * 100 + 8


def test_movement_may_run_as_a_pool() -> None:
    nodes: list[Node] = [Move(name="t", op_type="Transpose", inputs=("x",), output="y")]
    compute = PLAIN.model_copy(update={"moves_as_pools": True, "output_elems_per_cycle": 2.0})
    profile = chip(Align(depthwise_cells=4), Memory(), compute)
    (layer,) = layers(profile, nodes, x=(1, 4, 2, 2), y=(1, 4, 2, 2))
    assert layer.cycles[Bound.COMPUTE] == 16 * 4 / 8
    assert layer.cycles[Bound.OUTPUT] == 16 / 2
    assert layer.macs == 0


def test_pools_have_a_rate_of_their_own() -> None:
    node = Pool(
        name="p", op_type="MaxPool", inputs=("x",), output="y", geometry=PoolGeometry((3, 3))
    )
    compute = PLAIN.model_copy(update={"pool_cells_per_cycle": 2.0})
    (layer,) = layers(chip(Align(depthwise_cells=4), Memory(), compute), [node],
                      x=(1, 4, 4, 4), y=(1, 4, 2, 2))  # fmt: skip
    assert layer.cycles[Bound.COMPUTE] == 16 * 9 / 2
