"""ONNX Runtime's CPU provider: run a file, read its inner codes, see what ran in integers."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
from onnx import helper, numpy_helper

from deployq.errors import InputError
from deployq.qparams import QParams

Array = npt.NDArray[Any]
PROBE = ":probe"
INTEGER_PREFIXES = ("QLinear", "QGemm", "Nhwc")
INTEGER_FACTORS = ("MatMulInteger", "ConvInteger")
"""Begin the names of kernels that sum integers and give them as such, or as reals."""
_TOKEN = re.compile(r"_token_\d+$")


@dataclass(frozen=True)
class Placement:
    """Operators of the graph that ONNX Runtime really executes.

    Args:
        operators: node name to operator, after optimisation.
    """

    operators: Mapping[str, str]

    def runs_in_integers(self, layer: str) -> bool:
        """True when the layer of this name became an integer kernel."""
        return self.operators.get(layer, "").startswith(INTEGER_PREFIXES)

    def multiplies_integers(self, product: str) -> bool:
        """True when its factors are integers in the kernel, even if it gives reals."""
        return self.operators.get(product, "").startswith((*INTEGER_PREFIXES, *INTEGER_FACTORS))


class Session:
    """One loaded file.

    Args:
        model: the file; it is not changed.
        probes: code tensors whose values are wanted, with their parameters.
        optimised: default optimisation level, or none at all.
        threads: of one operator.

    Raises:
        InputError: ONNX Runtime refuses the file.
    """

    def __init__(
        self,
        model: onnx.ModelProto,
        probes: Mapping[str, QParams] | None = None,
        *,
        optimised: bool = True,
        threads: int = 1,
    ) -> None:
        self.probes = dict(probes or {})
        self.threads = threads
        self.name = model.graph.name
        probed = _with_probes(model, self.probes)
        options = _options(optimised=optimised, threads=threads)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "optimised.onnx"
            options.optimized_model_filepath = str(path)
            self._session = _load(probed, options)
            graph = onnx.load(path, load_external_data=False).graph
        self.placement = Placement({_TOKEN.sub("", n.name): n.op_type for n in graph.node})
        self.outputs = [o.name for o in model.graph.output]

    def run(self, inputs: Mapping[str, Array]) -> tuple[dict[str, Array], dict[str, Array]]:
        """Graph outputs and probed codes (int64), by name.

        Raises:
            InputError: a kernel refuses what the file asks of it.
        """
        names = [*self.outputs, *(name + PROBE for name in self.probes)]
        try:
            arrays = self._session.run(names, dict(inputs))
        except Exception as error:  # ONNX Runtime has no common public base for its errors
            raise _refused(self.name, "ONNX Runtime must run the file", error) from error
        values = dict(zip(names, arrays, strict=True))
        codes = {n: _codes(values[n + PROBE], qparams) for n, qparams in self.probes.items()}
        return {name: values[name] for name in self.outputs}, codes


def _options(*, optimised: bool, threads: int) -> ort.SessionOptions:
    options = ort.SessionOptions()
    level = ort.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if optimised else level.ORT_DISABLE_ALL
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # saving a layout-optimised graph warns; it is only looked at
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "0")
    return options


def _load(model: onnx.ModelProto, options: ort.SessionOptions) -> ort.InferenceSession:
    try:
        return ort.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # ONNX Runtime has no common public base for load errors
        raise _refused(model.graph.name, "ONNX Runtime must load the file", error) from error


def _refused(name: str, rule: str, error: Exception) -> InputError:
    return InputError(name, rule, found=str(error).strip().splitlines()[0][:300])


def _with_probes(model: onnx.ModelProto, probes: Mapping[str, QParams]) -> onnx.ModelProto:
    """A copy with a DequantizeLinear of each probed tensor as an extra output.

    A graph output on the codes themselves would keep ONNX Runtime from changing their type; the
    reals of a DequantizeLinear give the codes back exactly and leave every pattern whole.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for name, qparams in probes.items():
        scale, zero_point = f"{name}{PROBE}.scale", f"{name}{PROBE}.zero_point"
        copy.graph.initializer.append(numpy_helper.from_array(qparams.scale, scale))
        copy.graph.initializer.append(zero_point_tensor(qparams, zero_point))
        copy.graph.node.append(
            helper.make_node("DequantizeLinear", [name, scale, zero_point], [name + PROBE])
        )
        copy.graph.output.append(
            helper.make_tensor_value_info(name + PROBE, onnx.TensorProto.FLOAT, None)
        )
    return copy


def zero_point_tensor(qparams: QParams, name: str) -> onnx.TensorProto:
    """The zero point in the type of its codes' container."""
    bits, signed = qparams.qtype.container.bits, qparams.qtype.signed
    if bits >= 8:
        dtype = qparams.qtype.container.dtype
        return numpy_helper.from_array(qparams.zero_point.astype(dtype), name)
    element = getattr(onnx.TensorProto, f"{'' if signed else 'U'}INT{bits}")
    return helper.make_tensor(name, element, [], [int(qparams.zero_point)])


def _codes(reals: Array, qparams: QParams) -> Array:
    """Exact: ``(q - z) s`` in float32 divided by ``s`` is within 2**-23 of the integer."""
    steps = np.rint(reals.astype(np.float64) / np.float64(qparams.scale))
    return steps.astype(np.int64) + int(qparams.zero_point)
