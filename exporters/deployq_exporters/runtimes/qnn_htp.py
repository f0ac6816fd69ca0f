"""Qualcomm HTP through ONNX Runtime's QNN provider; without a device, its emulator on x86.

The whole file runs there or none of it: ONNX Runtime's own processor kernels are switched off. The
provider takes one sample at a time and no open sizes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
from onnx import helper

from deployq.qparams import QParams
from deployq_exporters.runtimes.qnn_context import Context
from deployq_exporters.runtimes.qnn_provider import (
    REGISTERED,
    installed,
    one_sample,
    refused,
    session_options,
)

__all__ = ["Session", "installed"]

Array = npt.NDArray[Any]
BORDERS = ("QuantizeLinear", "DequantizeLinear")


class Session:
    """One loaded file.

    Args:
        model: the file; it is not changed.
        probes: code tensors whose values are wanted, with their parameters.
        context: the file as it was prepared offline, which is run instead; it has no probes.
        architecture: of the Hexagon processor; empty leaves it to the provider, whose codes are
            those of 68. A prepared file has its own.

    Raises:
        InputError: the package is missing, the file has a batch of its own, or a node is refused.
    """

    def __init__(
        self,
        model: onnx.ModelProto,
        probes: Mapping[str, QParams] | None = None,
        context: Context | None = None,
        architecture: str = "",
    ) -> None:
        assert not (probes and context), "a prepared file keeps its inner codes to itself"
        self.probes = dict(probes or {})
        self.name = model.graph.name
        self.outputs = [o.name for o in model.graph.output]
        if context is None:
            content = one_sample(_with_probes(model, self.probes)).SerializeToString()
        else:
            content = context.content
        self._session = _load(self.name, content, architecture)

    def run(self, inputs: Mapping[str, Array]) -> tuple[dict[str, Array], dict[str, Array]]:
        """Graph outputs and probed codes (int64), by name, (N, ...).

        Raises:
            InputError: the provider refuses what the file asks of it.
        """
        inner = [name for name in self.probes if name not in self.outputs]
        names = [*self.outputs, *inner]
        count = len(next(iter(inputs.values())))
        rows = [self._run_one(names, inputs, index) for index in range(count)]
        values = {n: np.concatenate(parts) for n, *parts in zip(names, *rows, strict=True)}
        codes = {name: values[name].astype(np.int64) for name in self.probes}
        return {name: values[name] for name in self.outputs}, codes

    def _run_one(self, names: list[str], inputs: Mapping[str, Array], index: int) -> list[Array]:
        sample = {name: array[index : index + 1] for name, array in inputs.items()}
        try:
            found: list[Array] = self._session.run(names, sample)
        except Exception as error:  # ONNX Runtime has no common public base for its errors
            raise refused(self.name, "QNN must run the file", str(error)) from error
        return found


def _load(name: str, content: bytes, architecture: str) -> ort.InferenceSession:
    try:
        return ort.InferenceSession(content, session_options(architecture))
    except Exception as error:  # ONNX Runtime has no common public base for load errors
        left = _left_over(content)
        found = f"not taken: {left}" if left else str(error)
        raise refused(name, "Qualcomm HTP takes every node", found) from error


def _left_over(content: bytes) -> str:
    """Nodes that the provider leaves to the processor; "" where it cannot be told."""
    options = session_options(alone=False)
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    try:
        parts = ort.InferenceSession(content, options).get_provider_graph_assignment_info()
    except Exception:  # ONNX Runtime has no common public base for load errors
        return ""
    left = [node for part in parts if part.ep_name != REGISTERED for node in part.get_nodes()]
    computing = [node for node in left if node.op_type not in BORDERS]
    return ", ".join(f"{node.name} ({node.op_type})" for node in computing or left)


def _with_probes(model: onnx.ModelProto, probes: Mapping[str, QParams]) -> onnx.ModelProto:
    """A copy with each probed code tensor as an output; no operator becomes another by it."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    known = {output.name for output in copy.graph.output}
    for name, qparams in probes.items():
        if name not in known:
            element = helper.np_dtype_to_tensor_dtype(qparams.qtype.container.dtype)
            copy.graph.output.append(helper.make_tensor_value_info(name, element, None))
    return copy
