"""A file is held against the better peer of its own runtime; a file that refuses is a reason."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.contenders import FLOAT, Built
from benchmarks.runtime_latency import OWN, YARDSTICK, File, _entry, _misses
from benchmarks.statistics import Rows

TIMES = {OWN: 2.0, FLOAT: 4.0, "quantize_static": 1.9, "nncf": 3.0}


def entries(runtime: str, times: dict[str, float]) -> list[dict[str, object]]:
    draw = np.random.default_rng(0)
    rows: dict[str, Rows] = {
        f"{runtime} {name}": 1e-3 * value * draw.uniform(0.99, 1.01, 20)
        for name, value in times.items()
    }
    files = [File(runtime, Built(name, Path("file"))) for name in times]
    return [_entry(file, rows, "") for file in files]


def test_the_better_peer_is_the_limit() -> None:
    found = {"name": "net", "batch": 1, "files": entries(YARDSTICK, TIMES)}
    (miss,) = _misses(found, 1.03)
    assert miss.startswith("net, batch 1, onnxruntime: quantize_static 1.05")
    assert list(_misses(found, 1.1)) == []


def test_ratios_are_of_one_runtime_and_of_float_in_the_yardstick() -> None:
    own, floats, *_ = entries(YARDSTICK, TIMES)
    assert "own_over" not in own and "over_float" not in floats
    assert isinstance(own["over_float"], dict) and round(own["over_float"]["middle"], 1) == 0.5
    other, *_ = entries("openvino", TIMES)
    assert "over_float" not in other  # nothing of ONNX Runtime was timed beside it


def test_what_did_not_run_has_its_reason() -> None:
    file = File("openvino", Built("nncf", None, "refused"))
    assert _entry(file, {}, "refused") == {
        "runtime": "openvino", "file": "nncf", "reason": "refused",
    }  # fmt: skip
    assert list(_misses({"name": "net", "batch": 1, "files": [_entry(file, {}, "")]}, 1.0)) == []
