"""Arm Ethos-U through Vela as an adapter: it compiles and counts, and computes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from deployq.errors import InputError
from deployq_exporters.adapters import litert
from deployq_exporters.adapters.adapter import Adapter, Answer, Array, Compiled, Load, Source
from deployq_exporters.runtimes.ethos_u import ACCELERATOR, compile_by_vela, vela_options
from deployq_targets import TargetProfile, load_profile

DEFAULT = "ethos-u55-256"
"""Whose accelerator a file of another target is compiled for."""


class _Loaded:
    def __init__(self, source: Source, content: bytes, load: Load) -> None:
        self._report = compile_by_vela(content, _target(source)).report

    @property
    def floats(self) -> tuple[str, ...]:
        return tuple(operator.name.removesuffix(".codes") for operator in self._report.cpu)

    @property
    def float_products(self) -> tuple[str, ...]:
        """By names of nodes: Vela has those of tensors, and a bias may stand behind a product."""
        return tuple(name for tensor in self.floats for name in (tensor, f"{tensor}.product"))

    @property
    def facts(self) -> Mapping[str, Any]:
        report = self._report
        return {
            "estimated_by": f"Vela {report.version}", "accelerator": report.accelerator,
            "system_config": report.system_config, "memory_mode": report.memory_mode,
            "estimated_ms": 1e3 * report.seconds, "cycles": asdict(report.cycles),
            "sram_bytes": report.sram_bytes, "dram_bytes": report.dram_bytes,
            "flash_bytes": report.flash_bytes, "on_processor": [o.kind for o in report.cpu],
        }  # fmt: skip

    def run(self, inputs: Mapping[str, Array]) -> Answer:
        raise InputError("Ethos-U", "Vela computes nothing", found="a run", allowed="compiling")


def _target(source: Source) -> TargetProfile:
    """Whose accelerator is compiled for."""
    stated = ACCELERATOR in source.profile.verify.options
    return source.profile if stated else load_profile(DEFAULT)


def _command_stream(source: Source, content: bytes) -> bytes:
    return compile_by_vela(content, _target(source)).file


def _settings(source: Source) -> Mapping[str, str]:
    return vela_options(_target(source))


ADAPTER = Adapter(
    name="ethos-u",
    title="Arm Ethos-U, compiled by Vela",
    distribution="ethos-u-vela",
    module="ethosu",
    least="5.2",
    install='pip install "deployq[ethos-u]"',
    licence="Apache-2.0",
    file_name=litert.ADAPTER.file_name,
    write=litert.ADAPTER.write,
    read=litert.ADAPTER.read,
    load=_Loaded,
    computes=lambda: False,
    compiled=Compiled("model_vela.tflite", _command_stream, _settings),
)
