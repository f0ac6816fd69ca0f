"""OpenVINO's CPU plugin: run a file, see which of its operators ran in int8."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from google.protobuf.message import (  # type: ignore[import-untyped]  # protobuf ships no types
    DecodeError,
)
from onnx import helper

from deployq_exporters.dialects.openvino import OPENVINO
from deployq_exporters.runtimes.openvino_coverage import Coverage, coverage_of
from deployq_exporters.runtimes.openvino_package import openvino_module, refused
from deployq_exporters.runtimes.typed_inputs import typed_input
from deployq_targets import load_profile

Array = npt.NDArray[Any]
DEVICE = "CPU"


class Session:
    """One loaded file. What cannot run in int8 runs in float32, also where bfloat16 is faster: the
    runtime's profile says so under ``[verify]``.

    Args:
        model: the file, as it is or as bytes; it is not changed. Its batch may be open.
        probes: tensors whose values are wanted too. OpenVINO fuses less around them: sums that the
            dialect has not parted from the convolution before them then have other codes.
        threads: of one operator.

    Raises:
        InputError: OpenVINO is missing, does not load, is too old, or refuses the file.
    """

    def __init__(
        self, model: onnx.ModelProto | bytes, probes: Sequence[str] = (), *, threads: int = 1
    ) -> None:
        openvino = openvino_module()
        content = model if isinstance(model, bytes) else _with_probes(model, probes)
        self.name = "ONNX file" if isinstance(model, bytes) else model.graph.name
        self._compiled = _compile(openvino, content, self.name, _options(threads))
        self._model = _parsed(content, self.name)
        self.inputs = [value.name for value in self._model.graph.input]
        self.outputs = [output.name for output in self._model.graph.output]

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Graph outputs and probes by name, (N, ...).

        Args:
            inputs: name to (N, ...), in the type that the file states.

        Raises:
            InputError: an array is missing or of another type, or a kernel refuses it.
        """
        fed = {value.name: _checked(value, inputs) for value in self._model.graph.input}
        try:
            found = self._compiled(fed)
            return {name: np.array(found[name]) for name in self.outputs}
        except (RuntimeError, TypeError, ValueError) as error:
            raise refused(self.name, "OpenVINO must run the file", error) from error

    def coverage(self) -> Coverage:
        """Every layer that is executed, and whether it is in int8."""
        return coverage_of(self._compiled, self._model)


def _options(threads: int) -> dict[str, str]:
    stated = load_profile(OPENVINO.contract).verify.options
    return {**stated, "INFERENCE_NUM_THREADS": str(threads), "NUM_STREAMS": "1"}


def _compile(openvino: Any, content: bytes, name: str, options: Mapping[str, str]) -> Any:
    try:
        core = openvino.Core()
        return core.compile_model(core.read_model(content), DEVICE, dict(options))
    except (RuntimeError, TypeError, ValueError) as error:
        raise refused(name, "OpenVINO must load the file", error) from error


def _parsed(content: bytes, name: str) -> onnx.ModelProto:
    """The names of the file's nodes; OpenVINO reads other formats too."""
    try:
        return onnx.load_model_from_string(content)
    except DecodeError as error:
        raise refused(name, "the file is ONNX", error) from error


def _with_probes(model: onnx.ModelProto, probes: Sequence[str]) -> bytes:
    """The file with each probed tensor as an output."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    known = {output.name for output in copy.graph.output}
    copy.graph.output.extend(
        helper.make_empty_tensor_value_info(name) for name in probes if name not in known
    )
    content: bytes = copy.SerializeToString()
    return content


def _checked(value: onnx.ValueInfoProto, inputs: Mapping[str, Array]) -> Array:
    """OpenVINO converts other types in silence, and runs with inputs that it was not given."""
    wanted = helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
    return typed_input(value.name, wanted, inputs)
