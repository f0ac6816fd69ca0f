"""ONNX Runtime's QNN provider: its package, its devices, and the options of a session on HTP."""

from __future__ import annotations

import importlib
import importlib.util
from functools import lru_cache
from types import ModuleType
from typing import Any

import onnx
import onnxruntime as ort
from onnx import shape_inference

from deployq.errors import InputError

PACKAGE = "onnxruntime_qnn"
REGISTERED = "QNN"
"""Name under which the provider's library is known to ONNX Runtime."""

SILENT = 4  # the provider prints what it refuses; the error says it


def installed() -> bool:
    """True where the provider's package can be imported."""
    return importlib.util.find_spec(PACKAGE) is not None


def session_options(architecture: str = "", *, alone: bool = True) -> ort.SessionOptions:
    """Options of a session on HTP.

    Args:
        architecture: of the Hexagon processor, such as ``68``; empty leaves it to the provider.
            Codes depend on it: from 73 on, convolutions are scaled in another way.
        alone: no node may be left to ONNX Runtime's own kernels.

    Raises:
        InputError: the package is missing.
    """
    stated = {"backend_path": _package().get_qnn_htp_path()}
    if architecture:
        stated["htp_arch"] = architecture
    options = ort.SessionOptions()
    options.log_severity_level = SILENT
    options.add_provider_for_devices(_devices(), stated)
    options.add_session_config_entry("session.disable_cpu_ep_fallback", "1" if alone else "0")
    return options


def refused(name: str, rule: str, found: str) -> InputError:
    """The error of a file, with the first line of what the provider said."""
    return InputError(name, rule, found=(found.strip() or "no reason").splitlines()[0][:300])


def one_sample(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same model, in place, with a batch of one and every size a number.

    Raises:
        InputError: the file has a batch of its own.
    """
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
