"""One changed bit of a weight, a bias or a shift: the program finds every one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from tests.golden_vectors.programs import built, needs_gcc, ran, reals, traced, written
from tests.graph.networks import counting, profile_with
from tests.qgraph.texts import read

pytestmark = needs_gcc
DRIVER = """#include <inttypes.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
static int silent(const char *text, ...) { return text == NULL; }
#define const
#define main check
#define printf silent
#include "c/golden.c"
#undef main
#undef printf
static void flip(char *name, void *data, size_t bits) {
    size_t i, missed = 0;
    for (i = 0; i < bits; i++) {
        ((uint8_t *)data)[i / 8] ^= (uint8_t)(1 << (i % 8));
        missed += check() == 0;
        ((uint8_t *)data)[i / 8] ^= (uint8_t)(1 << (i % 8));
    }
    printf("%s %zu %zu\\n", name, bits, missed);
}
int main(void) {
"""
WORDS = {
    "high_first": {"memory__code_order": "high_first"},
    "planes": {"memory__weight_packing": "bitserial", "align__cin": 4},
    "saturating": {"accumulator__bits": 16, "accumulator__overflow": "saturate",
                   "bias__signed_bits_max": 32},
    "shared shift": {"requant__multiplier_bits": 8, "requant__shift_scope": "layer"},
    "split shift": {"requant__multiplier_bits": 11, "requant__post_shift": 14,
                    "requant__zero_point": "accumulator"},
}  # fmt: skip
BODY = """wd = DequantizeLinear <axis = 0> (w, sw4, zw4)
    bd = DequantizeLinear <axis = 0> (b, sb4)
    v = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (xd, wd, bd)"""
TYPES = {"weight": (np.int8, 2), "bias": (np.int32, 32)}


def flipped(folder: Path, arrays: list[str]) -> dict[str, tuple[int, int]]:
    """For each array its bits, and how many of them could change unseen."""
    calls = [f'    flip("{name}", (void *){name}, 8 * sizeof {name});\n' for name in arrays]
    source = folder / "flips.c"
    source.write_text(DRIVER + "".join(calls) + "    return check();\n}\n")
    code, text = ran(built(source, folder / "flips", "-Wno-discarded-qualifiers"))
    assert code == 0  # with every bit in its place again
    rows = (line.split() for line in text.splitlines())
    return {name: (int(bits), int(missed)) for name, bits, missed in rows}


def arrays_of(folder: Path, kinds: str) -> list[str]:
    """Names of the arrays of weights, biases and shifts in the header."""
    header = (folder / "c/golden.h").read_text()
    return re.findall(rf"static const \w+ (layer_\d+_(?:{kinds}))\[\]", header)


@pytest.mark.parametrize("target", ["int8-npu", "ort-cpu", *WORDS])
def test_no_bit_of_a_convolution_changes_unseen(target: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    constants: dict[str, Any] = {
        "w": rng.integers(-128, 128, (4, 4, 3, 3)).astype(np.int8),
        "sb4": np.float32(0.5) * np.float32([0.125, 0.25, 0.5, 1.0]), "sy": np.float32(9.7),
    }  # fmt: skip
    profile = profile_with("int8-npu", **WORDS[target]) if target in WORDS else target
    graph = read(BODY, shape="N,4,5,5", **constants)
    folder = written(traced(graph, profile, reals((1, 4, 5, 5), -1, 100)), tmp_path / "golden")
    names = arrays_of(folder, "weight|bias|scaling_0_shift")
    found = flipped(folder, names)
    assert {name: missed for name, (_, missed) in found.items()} == dict.fromkeys(names, 0)
    assert found["layer_0_weight"][0] == 4 * 4 * 9 * 8 and len(names) == 3


def test_no_bit_of_a_threshold_that_sums_reach_changes_unseen(tmp_path: Path) -> None:
    body = BODY.replace("sw4", "sw5").replace("w, ", "five, ").replace("b, sb4", "c, sb5")
    constants: dict[str, Any] = {
        "five": np.ones((3, 4, 3, 3), np.int8), "sw5": np.float32([0.3, 0.5, 0.7]),
        "zw5": np.zeros(3, np.int8), "c": np.int32([1, 2, 3]),
        "sb5": np.float32(0.5) * np.float32([0.3, 0.5, 0.7]),
        "zy": ml_dtypes.int4(-3), "sy": np.float32(9.7), "opset": 21,
    }  # fmt: skip
    graph = read(body.replace("zw4", "zw5"), shape="N,4,5,5", **constants)
    folder = written(traced(graph, counting(), reals((1, 4, 5, 5), -1, 100)), tmp_path / "golden")
    names = arrays_of(folder, "scaling_0_thresholds|bias|weight|scaling_0_shift")
    found = flipped(folder, names)
    assert [name.partition("_0_")[2] for name in names] == [
        "scaling_0_thresholds",
        "weight",
        "bias",
    ]
    assert found[names[0]] == (3 * 15 * 32, 0)


def test_no_packed_bit_of_a_matrix_changes_unseen(tmp_path: Path) -> None:
    weight = np.random.default_rng(4).integers(-8, 8, (6, 4)).astype(ml_dtypes.int4)
    graph = read("wd = DequantizeLinear(n, sw)\nv = MatMul(xd, wd)", shape="N,6", out="N,4",
                 opset=21, n=weight, sw=np.float32(0.125), zw=np.int8(0))  # fmt: skip
    folder = written(traced(graph, "int4-npu", reals((2, 6))), tmp_path / "golden")
    names = arrays_of(folder, "weight|scaling_0_shift")
    found = flipped(folder, names)
    assert found["layer_0_weight"] == (6 * 4 * 4, 0)  # two codes in a byte
    assert {missed for _, missed in found.values()} == {0}


def test_expected_codes_and_sums_are_compared(tmp_path: Path) -> None:
    graph = read("wd = DequantizeLinear(w, sw)\nv = Conv(xd, wd)")
    folder = written(traced(graph, "int8-npu", reals((1, 3, 8, 8))), tmp_path / "golden")
    header = (folder / "c/golden.h").read_text()
    outputs = re.findall(r"\.codes = {(tensor_\d+_codes), [^}]*}, \.memory = [^,]*}", header)
    found = flipped(folder, ["case_1_sums", *outputs])  # those of case 2 are given
    assert {missed for _, missed in found.values()} == {0} and len(found) == 4


def test_the_first_difference_is_named(tmp_path: Path) -> None:
    graph = read("wd = DequantizeLinear(w, sw)\nv = Conv(xd, wd)")
    folder = written(traced(graph, "int8-npu", reals((1, 3, 8, 8))), tmp_path / "golden")
    header = folder / "c/golden.h"
    text = header.read_text()
    assert "layer_0_weight[] = {\n250, " in text
    header.write_text(text.replace("layer_0_weight[] = {\n250, ", "layer_0_weight[] = {\n251, "))
    code, said = ran(built(folder / "c/golden.c", tmp_path / "program"))
    assert code == 1
    assert re.fullmatch(
        r'layer "v" \(designed vectors\): sum\[0\] expected (-?\d+), found (-?\d+)\n', said
    )
