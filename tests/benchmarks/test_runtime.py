"""The integer share comes from what ONNX Runtime really ran; failures become reasons."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import parser

from benchmarks import breadth
from benchmarks.runtime import integer_share, share_of

CONV = """
<ir_version: 10, opset_import: ["": 21]>
net (float[N,2,4,4] x) => (float[N,3,2,2] y)
<float[3,2,3,3] w = {WEIGHTS}> { y = Conv(x, w) }
""".replace("WEIGHTS", ", ".join(["1.0"] * 54))


def event(operator: str, weight: list[int], out: list[int]) -> dict[str, object]:
    shapes = [{"uint8": [1, 2, 4, 4]}, {"float": []}, {"int8": weight}]
    return {"args": {"op_name": operator, "input_type_shape": shapes,
                     "output_type_shape": [{"uint8": out}]}}  # fmt: skip


def test_the_share_weighs_multiply_accumulates() -> None:
    events = [
        event("QLinearConv", [3, 2, 3, 3], [1, 3, 2, 2]),  # 216
        event("Conv", [1, 2, 1, 1], [1, 1, 4, 9]),  # 72
        event("Relu", [3, 2, 3, 3], [1, 3, 2, 2]),
        {"name": "session_initialization"},
    ]
    assert share_of(events) == 0.75


def test_a_float_file_has_no_integer_share(tmp_path: Path) -> None:
    path = tmp_path / "float.onnx"
    onnx.save(parser.parse_model(CONV), path)
    assert integer_share(path, np.zeros((1, 2, 4, 4), np.float32)) == 0


@pytest.mark.parametrize(
    ("body", "reason"),
    [("exec sleep 60", "still running after 0 s"), ("exit 3", "process ended with 3: ")],
)
def test_a_process_that_hangs_or_breaks_is_a_reason(
    body: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "python"
    script.write_text(f"#!/bin/sh\n{body}\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    flags = ["--stage", "prepare", "--limit-seconds", "0.3"]
    arguments = breadth.arguments_parser(None, goal=95).parse_args(flags)
    outcome = breadth.run_one("resnet18", ["benchmarks.timm_cnns.one", "resnet18"], arguments)
    assert (outcome["reason"], outcome["reached"]) == (reason, [])


def test_reasons_come_most_frequent_first() -> None:
    outcomes = [
        {"model": "a", "reached": [], "reason": "r"},
        {"model": "b", "reached": [], "reason": "s"},
        {"model": "c", "reached": [], "reason": "s"},
        {"model": "d", "reached": ["prepare"], "reason": ""},
    ]
    assert breadth.reasons(outcomes, "prepare") == {"s": ["b", "c"], "r": ["a"]}
