"""TensorRT, or TensorRT for RTX, as an adapter: it builds engines, without a device too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import onnx

from deployq.errors import InputError
from deployq_exporters.adapters.adapter import Adapter, Answer, Array, Compiled, Load, Source
from deployq_exporters.adapters.onnx_files import read_file, writer
from deployq_exporters.dialects.tensorrt import TENSORRT
from deployq_exporters.runtimes.tensorrt import PACKAGES, build_engine, installed
from deployq_exporters.runtimes.tensorrt_layers import coverage

DISTRIBUTIONS = {"tensorrt": "tensorrt", "tensorrt_rtx": "tensorrt-rtx-cu13"}
LEAST = {"tensorrt": "10", "tensorrt_rtx": "1.7"}
MODULE = next((name for name in PACKAGES if installed(name)), "tensorrt_rtx")
"""Which of the two is here; where none is, the one that installs without a device."""


class _Loaded:
    """A built engine. One that could run here is left to ``tensorrt_session``, which no device
    has been at hand to try.
    """

    def __init__(self, source: Source, content: bytes, load: Load) -> None:
        model = onnx.load_from_string(content)
        self._engine = build_engine(model)
        self._coverage = coverage(model, self._engine.layers)

    @property
    def floats(self) -> tuple[str, ...]:
        return self._coverage.others

    @property
    def float_products(self) -> tuple[str, ...]:
        return self.floats

    @property
    def facts(self) -> Mapping[str, Any]:
        engine = self._engine
        return {
            "built_by": engine.package, "plan_bytes": len(engine.plan),
            "warnings": list(engine.warnings), "not_run": "engines are built, none is run",
        }  # fmt: skip

    def run(self, inputs: Mapping[str, Array]) -> Answer:
        raise InputError(
            "TensorRT", "an engine runs on a CUDA device", found="a run", allowed="building"
        )


def _plan(source: Source, content: bytes) -> bytes:
    return build_engine(onnx.load_from_string(content)).plan


ADAPTER = Adapter(
    name="tensorrt",
    title="TensorRT" if MODULE == "tensorrt" else "TensorRT for RTX",
    distribution=DISTRIBUTIONS[MODULE],
    module=MODULE,
    least=LEAST[MODULE],
    install='pip install "deployq[tensorrt-rtx]"',
    licence="proprietary",
    file_name=TENSORRT.file_name,
    write=writer(TENSORRT),
    read=read_file,
    load=_Loaded,
    computes=False,
    compiled=Compiled("model.tensorrt.plan", _plan),
)
