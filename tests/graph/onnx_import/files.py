"""ONNX files of a few nodes, and their output by ONNX Runtime, one sample at a time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import torch
from onnx import NodeProto, TensorProto, helper, numpy_helper
from torch import fx

from deployq.graph.onnx_import import import_onnx

Array = npt.NDArray[Any]
FREE = ("N", 3, 8, 8)
ONE = (1, 3, 8, 8)

TOLERANCE = 1e-5
"""Of float32 sums that torch and ONNX Runtime take in another order."""


def node(kind: str, inputs: str, output: str = "y", **attributes: Any) -> NodeProto:
    """``node("Conv", "x w", pads=[1, 1, 1, 1])``; ``-`` is an input left out."""
    names = ["" if name == "-" else name for name in inputs.split()]
    return helper.make_node(kind, names, output.split(), **attributes)


def random(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def ints(*values: int) -> Array:
    return np.array(values, np.int64)


def write(
    folder: Path,
    nodes: Sequence[NodeProto],
    constants: dict[str, Any],
    *,
    opset: int = 18,
    shape: Sequence[int | str] = FREE,
    inputs: Sequence[str] = ("x",),
    outputs: Sequence[str] = ("y",),
    kind: int = TensorProto.FLOAT,
    rank: int = 4,
) -> Path:
    """A file whose inputs all have one shape; ``rank`` of outputs where it cannot be inferred."""
    graph = helper.make_graph(
        list(nodes),
        "net",
        [helper.make_tensor_value_info(name, kind, shape) for name in inputs],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    domains = {entry.domain for entry in nodes} | {""}
    opsets = [helper.make_opsetid(domain, 1 if domain else opset) for domain in sorted(domains)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8 if opset < 22 else 11)
    path = folder / "model.onnx"
    model = onnx.shape_inference.infer_shapes(model)
    for value in model.graph.output:
        if not value.type.tensor_type.HasField("shape"):
            free = [f"{value.name}_{axis}" for axis in range(rank)]
            value.CopyFrom(helper.make_tensor_value_info(value.name, TensorProto.FLOAT, free))
    path.write_bytes(model.SerializeToString())
    return path


def session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def outputs_of(graph: fx.GraphModule, *inputs: Array) -> list[Array]:
    with torch.no_grad():
        result = graph(*map(torch.from_numpy, inputs))
    return [t.numpy() for t in (result if isinstance(result, tuple) else (result,))]


def by_sample(path: Path, *inputs: Array) -> list[Array]:
    """ONNX Runtime's outputs, each sample computed alone."""
    runtime = session(path)
    names = [entry.name for entry in runtime.get_inputs()]
    rows = [
        runtime.run(None, {name: x[i : i + 1] for name, x in zip(names, inputs, strict=True)})
        for i in range(len(inputs[0]))
    ]
    return [np.concatenate(parts) for parts in zip(*rows, strict=True)]


def assert_equal(path: Path, *inputs: Array, tolerance: float = TOLERANCE) -> fx.GraphModule:
    """Imported, the file computes what ONNX Runtime computes, for batches of 1 and 3."""
    graph = import_onnx(path)
    for batch in (1, 3):
        given = [x[:batch] for x in inputs]
        for ours, theirs in zip(outputs_of(graph, *given), by_sample(path, *given), strict=True):
            assert ours.shape == theirs.shape
            assert np.allclose(ours, theirs, rtol=tolerance, atol=tolerance)
    return graph


def names_of(graph: fx.GraphModule) -> list[str]:
    return [str(n.meta["name"]) for n in graph.graph.nodes if n.op.startswith("call")]
