"""Arm Ethos-U through Vela as an adapter: it compiles and counts, and computes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from deployq.errors import InputError
from deployq_exporters.adapters import litert
from deployq_exporters.adapters.adapter import Adapter, Answer, Array, Load, Source
from deployq_exporters.runtimes.ethos_u import ACCELERATOR, compile_by_vela
from deployq_targets import load_profile

DEFAULT = "ethos-u55-256"
"""Whose accelerator a file of another target is compiled for."""


class _Loaded:
    def __init__(self, source: Source, content: bytes, load: Load) -> None:
        stated = ACCELERATOR in source.profile.verify.options
        self._report = compile_by_vela(content, source.profile if stated else load_profile(DEFAULT))

    @property
    def floats(self) -> tuple[str, ...]:
        return tuple(operator.name.removesuffix(".codes") for operator in self._report.cpu)

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
    computes=False,
)
