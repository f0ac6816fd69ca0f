"""Rebuild every trained network and compare it with what is stored of it.

    python -m benchmarks.check_models [--models a,b] [--json-out FILE]

Outputs must agree with ``<name>.ref.npz`` (the face detector: with its ONNX file) within 1e-4, and
the float figure with the one that the data folder states, within 0.06 points.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import torch
from torch import nn
from torch.utils import _pytree as pytree

from benchmarks.data import DATA
from benchmarks.models.registry import chosen
from benchmarks.models.spec import ModelSpec
from benchmarks.output import print_table, write_json
from deployq.data import Dataset

TOLERANCE = 1e-4
"""Of the largest absolute output: another summation order than the run that stored them."""
FIGURE_TOLERANCE = 0.06
"""In points; figures are stated with two digits, that of the keywords with one."""
FACE_FILE = "onnx_thirdparty/ultraface_rfb320_float.onnx"
BATCH = 50

Arrays = list[npt.NDArray[Any]]


def main() -> int:
    """Print a row for each network; 1 if one disagrees."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", help="names with commas; default: all")
    parser.add_argument("--json-out", type=Path)
    arguments = parser.parse_args()
    rows, good = [], True
    for spec in chosen(arguments.models):
        model = spec.load()
        difference = reference_difference(spec, model)
        figure, stated = _figure(spec, model)
        fits = difference <= TOLERANCE and abs(figure - stated) <= FIGURE_TOLERANCE
        good = good and fits
        rows.append((spec.name, difference, spec.metric.name, figure, stated, fits))
        print(f"{spec.name}: {'agrees' if fits else 'DIFFERS'}", file=sys.stderr, flush=True)
    print_table(
        "float networks",
        ("network", "largest difference", "metric", "measured", "stated", "agrees"),
        [(n, f"{d:.1e}", m, f"{f:.2f}", f"{s:.2f}", str(fits)) for n, d, m, f, s, fits in rows],
    )
    keys = ("name", "difference", "metric", "measured", "stated", "agrees")
    facts = [dict(zip(keys, row, strict=True)) for row in rows]
    write_json({"benchmark": "check_models", "networks": facts}, arguments.json_out)
    return int(not good)


def reference_difference(spec: ModelSpec, model: nn.Module) -> float:
    """Largest difference to the stored outputs, over their largest value (at least 1)."""
    if spec.reference is None:
        inputs = next(iter(spec.choosing().take(2).inputs.values()))
        session = ort.InferenceSession(str(DATA / FACE_FILE), providers=["CPUExecutionProvider"])
        stored = _joined([session.run(None, {"input": row[None]}) for row in inputs])
    else:
        with np.load(DATA / f"models/{spec.name}.ref.npz", allow_pickle=False) as arrays:
            stored = [arrays[arrays.files[0]]]
        inputs = next(iter(spec.reference().inputs.values()))[: len(stored[0])]
    with torch.no_grad():
        outputs = pytree.tree_leaves(model(torch.from_numpy(inputs)))
    pairs = zip(outputs, stored, strict=True)
    return max(float(np.abs(o.numpy() - s).max() / max(1, np.abs(s).max())) for o, s in pairs)


def _figure(spec: ModelSpec, model: nn.Module) -> tuple[float, float]:
    """Measured and stated; zeros where nothing is stated."""
    if spec.stated is None:
        return 0.0, 0.0
    stated, load = spec.stated
    data = load()
    outputs = torch_outputs(model, data)
    return spec.metric.statistic(spec.metric.rows(outputs, outputs, data)), stated


def torch_outputs(model: nn.Module, data: Dataset) -> Arrays:
    """Every output of a network over a data set."""
    parts = []
    with torch.no_grad():
        for batch in data.batches(BATCH):
            inputs = [torch.from_numpy(np.array(array)) for array in batch.inputs.values()]
            parts.append([o.numpy() for o in pytree.tree_leaves(model(*inputs))])
    return _joined(parts)


def _joined(parts: list[Arrays]) -> Arrays:
    return [np.concatenate(columns) for columns in zip(*parts, strict=True)]


if __name__ == "__main__":
    sys.exit(main())
