"""ONNX Runtime's int32 accumulator wraps: the proof names the channel, its witness shows it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import deployq
from deployq.arithmetic.intervals import Interval
from deployq.environment import environment_facts
from deployq.npz import load_arrays
from tests.qgraph.texts import qdq
from tests.simulator.nets import operators, session

GEMM = "wd = DequantizeLinear(k, sw, kz)\nv = Gemm(xd, wd)"
FLAGS: Any = environment_facts()["cpu_flags"] or []
needs_vnni = pytest.mark.skipif(
    not {"avx512_vnni", "avx_vnni"} & set(FLAGS),
    reason="without VNNI, ONNX Runtime's u8 x s8 products saturate in pairs of 16 bits",
)


def layer(weight: Any, terms: int) -> onnx.ModelProto:
    """``terms`` products of u8 codes: with the weight in channel 0, with 1 in channel 1."""
    codes = np.stack([np.full(terms, weight), np.ones(terms, weight.dtype)], 1)
    return qdq(
        GEMM, shape=f"N,{terms}", out="N,2", k=codes, kz=weight.dtype.type(0), sw=np.float32(1),
        sx=np.float32(1), zx=np.uint8(0), sy=np.float32(2e7), zy=np.uint8(128),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("weight", "terms"),
    [(np.uint8(255), 33_026), pytest.param(np.int8(127), 66_312, marks=needs_vnni)],
)
def test_the_smallest_layer_whose_int32_wraps(weight: Any, terms: int, tmp_path: Path) -> None:
    assert deployq.prove_accumulators(layer(weight, terms - 1), "ort-cpu").fits
    made, folder = layer(weight, terms), tmp_path / "witnesses"
    proof = deployq.prove_accumulators(made, "ort-cpu", witnesses=folder)
    total = 255 * int(weight) * terms
    (witness,) = proof.witnesses
    assert proof.layers[0].channels[0].worst == Interval(0, total) and total > 2**31 - 1
    assert (witness.channel, witness.end, witness.reached) == (0, "high", total)
    x = load_arrays(folder / "0000.npz", skip_text=True)["codes/xq"].astype(np.float32)

    runtime = session(made, tmp_path / "optimised.onnx")
    assert "QGemm" in operators(tmp_path / "optimised.onnx")
    (found,) = runtime.run(None, {"x": x})
    simulated = deployq.simulate(made, {"x": x}, "ort-cpu")
    np.testing.assert_array_equal(simulated.outputs["y"], found)
    wrapped, true = (round(acc / 2e7) + 128 for acc in (total - 2**32, total))
    small = round(255 * terms / 2e7) + 128
    assert simulated.codes["yq"].tolist() == [[wrapped, small]] != [[true, small]]
