"""Qualcomm HTP through ONNX Runtime's QNN provider; without a device, its emulator on x86.

The whole file runs there or none of it: ONNX Runtime's own processor kernels are switched off. The
provider takes one sample at a time and no open sizes.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping
from functools import lru_cache
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
from onnx import helper, shape_inference

from deployq.errors import InputError
from deployq.qparams import QParams

Array = npt.NDArray[Any]
PACKAGE = "onnxruntime_qnn"
REGISTERED = "QNN"
"""Name under which the provider's library is known to ONNX Runtime."""

SILENT = 4  # the provider prints what it refuses; the error says it
BORDERS = ("QuantizeLinear", "DequantizeLinear")


class Session:
    """One loaded file.

    Args:
        model: the file; it is not changed.
        probes: code tensors whose values are wanted, with their parameters.

    Raises:
        InputError: the package is missing, the file has a batch of its own, or a node is refused.
    """

    def __init__(self, model: onnx.ModelProto, probes: Mapping[str, QParams] | None = None) -> None:
        self.probes = dict(probes or {})
        self.name = model.graph.name
        self.outputs = [o.name for o in model.graph.output]
        self._session = _load(_one_sample(_with_probes(model, self.probes)))

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
            raise _refused(self.name, "QNN must run the file", str(error)) from error
        return found


def installed() -> bool:
    """True where the provider's package can be imported."""
    return importlib.util.find_spec(PACKAGE) is not None


def _package() -> ModuleType:
    try:
        return importlib.import_module(PACKAGE)
    except ImportError as error:
        raise InputError(
            "Qualcomm HTP",
            "its provider for ONNX Runtime is installed",
            found="no package onnxruntime-qnn",
            next_step="pip install 'deployq[qnn]'",
        ) from error


@lru_cache(1)
def _devices() -> list[Any]:
    """The provider's devices; a library is registered once in a process."""
    ort.register_execution_provider_library(REGISTERED, _package().get_library_path())
    return [device for device in ort.get_ep_devices() if device.ep_name == REGISTERED]


def _load(model: onnx.ModelProto) -> ort.InferenceSession:
    content = model.SerializeToString()
    options = _options()
    options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    try:
        return ort.InferenceSession(content, options)
    except Exception as error:  # ONNX Runtime has no common public base for load errors
        left = _left_over(content)
        found = f"not taken: {left}" if left else str(error)
        raise _refused(model.graph.name, "Qualcomm HTP takes every node", found) from error


def _options() -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.log_severity_level = SILENT
    options.add_provider_for_devices(_devices(), {"backend_path": _package().get_qnn_htp_path()})
    return options


def _left_over(content: bytes) -> str:
    """Nodes that the provider leaves to the processor; "" where it cannot be told."""
    options = _options()
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    try:
        parts = ort.InferenceSession(content, options).get_provider_graph_assignment_info()
    except Exception:  # ONNX Runtime has no common public base for load errors
        return ""
    left = [node for part in parts if part.ep_name != REGISTERED for node in part.get_nodes()]
    computing = [node for node in left if node.op_type not in BORDERS]
    return ", ".join(f"{node.name} ({node.op_type})" for node in computing or left)


def _refused(name: str, rule: str, found: str) -> InputError:
    return InputError(name, rule, found=found.strip().splitlines()[0][:300])


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


def _one_sample(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same model, in place, with a batch of one and every size a number."""
    for value in model.graph.input:
        batch = value.type.tensor_type.shape.dim[0]
        if batch.dim_value > 1:
            raise InputError(
                f"input {value.name}",
                "Qualcomm HTP runs one sample at a time",
                found=f"a batch of {batch.dim_value}",
                allowed="1, or an open size",
                next_step="export with an open batch",
            )
        batch.dim_value = 1
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")
    del model.graph.value_info[:]
    return shape_inference.infer_shapes(model)
