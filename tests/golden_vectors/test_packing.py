"""Memory images: read back by a parser of their own, for every width, order and word."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from deployq.qgraph.nodes import Linear
from deployq_exporters.golden.hex_files import hex_text
from deployq_exporters.golden.layer_data import Item, layer_items
from deployq_exporters.golden.packing import Packing
from deployq_targets.words import ByteOrder, CodeOrder
from tests.golden_vectors.programs import reals, traced
from tests.graph.networks import profile_with
from tests.qgraph.texts import read

BODY = "wd = DequantizeLinear <axis = 0> (w, sw4, zw4)\nv = Conv(xd, wd)"
TRACE = traced(read(BODY), "int8-npu", reals((1, 3, 2, 2)))
ORDERS = [(w, b, c) for w, b, c in itertools.product((8, 32, 128), ByteOrder, CodeOrder)]


def parsed(text: str) -> list[int]:
    """What $readmemh reads: a number for each word that is no comment."""
    lines = (line.split("//")[0] for line in text.splitlines())
    return [int(word, 16) for line in lines for word in line.split()]


def unpacked(text: str, bits: int, packing: Packing, *, signed: bool) -> list[int]:
    """Codes of the words, bit by bit: byte i of a word, then code j of a byte."""
    codes = []
    for word in parsed(text):
        count = packing.word_bits // 8
        for i in range(count):
            place = i if packing.byte_order == "little" else count - 1 - i
            byte = word >> (8 * place) & 255
            for j in range(8 // bits):
                at = j if packing.code_order == "low_first" else 8 // bits - 1 - j
                code = byte >> (bits * at) & ((1 << bits) - 1)
                codes.append(code - (1 << bits) if signed and code >> (bits - 1) else code)
    return codes


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize(("word", "bytes_", "order"), ORDERS)
def test_codes_read_back(
    word: int, bytes_: ByteOrder, order: CodeOrder, bits: int, signed: bool
) -> None:
    packing = Packing(word, bytes_, order)
    low = -(1 << (bits - 1)) if signed else 0
    codes = np.random.default_rng(0).integers(low, low + (1 << bits), (3, 37))
    text = hex_text(Item("x", codes, bits, signed), TRACE.layers[0], packing)
    found = unpacked(text, bits, packing, signed=signed)
    assert found[: codes.size] == codes.ravel().tolist() and not any(found[codes.size :])
    assert len(parsed(text)) == -(-codes.size * bits // word)
    assert f"words of {word} bits, first byte {bytes_}-endian" in text


@pytest.mark.parametrize("bits", [16, 32, 64])
def test_wide_numbers_stand_alone(bits: int) -> None:
    values = np.array([0, 1, -1, (1 << (bits - 1)) - 1, -(1 << (bits - 1))])
    text = hex_text(Item("sum", values, bits), TRACE.layers[0], Packing(128))
    assert [v - (1 << bits) if v >> (bits - 1) else v for v in parsed(text)] == values.tolist()


@pytest.mark.parametrize(("word", "bytes_", "order"), ORDERS)
def test_planes_of_single_bits(word: int, bytes_: ByteOrder, order: CodeOrder) -> None:
    packing = Packing(word, bytes_, order, planes=True, channels=16)
    layer = TRACE.layers[0]
    node = layer.node
    assert isinstance(node, Linear)
    (item,) = (item for item in layer_items(layer, TRACE) if item.name == "weight")
    bits = unpacked(hex_text(item, layer, packing), 1, packing, signed=False)
    planes = np.array(bits[: 8 * 4 * 16]).reshape(8, 4, 1, 16)  # bits, outputs, cells, channels
    codes = (planes << np.arange(8)[:, None, None, None]).sum(0)
    codes = np.where(codes > 127, codes - 256, codes)
    np.testing.assert_array_equal(codes[:, 0, :3], node.weight[:, :, 0, 0])
    assert not codes[:, 0, 3:].any()


def test_the_channels_of_depthwise_planes_are_outputs() -> None:
    body = "wd = DequantizeLinear(d, sw)\nv = Conv <group = 3> (xd, wd)"
    weight = np.arange(-6, 6).astype(np.int8).reshape(3, 1, 2, 2)
    trace = traced(read(body, d=weight), "int8-npu", reals((1, 3, 4, 4)))
    packing, layer = Packing(planes=True, channels=8), trace.layers[0]
    (item,) = (item for item in layer_items(layer, trace) if item.name == "weight")
    text = hex_text(item, layer, packing)
    bits = np.array(unpacked(text, 1, packing, signed=False)).reshape(8, 4, 8)
    codes = (bits << np.arange(8)[:, None, None]).sum(0)[:, :3].T
    np.testing.assert_array_equal(codes.astype(np.uint8).view(np.int8), weight.reshape(3, 4))
    assert "8 planes of 1 x 4 cells x 8 channels (3 used), lowest bit first" in text


def test_the_profile_states_the_packing() -> None:
    stated = {"memory__word_bits": 64, "memory__byte_order": "big", "memory__code_order":
              "high_first", "memory__weight_packing": "bitserial", "align__cin": 8}  # fmt: skip
    profile = profile_with("int8-npu", **stated)
    packing = traced(read(BODY), profile, reals((1, 3, 2, 2))).packing
    assert packing == Packing(64, ByteOrder.BIG, CodeOrder.HIGH_FIRST, planes=True, channels=8)
    assert TRACE.packing == Packing(channels=8)
