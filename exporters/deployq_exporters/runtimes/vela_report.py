"""Vela's tables as frozen facts."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from deployq.errors import InputError

KIB = 1024
Row = Mapping[str, str]


@dataclass(frozen=True)
class VelaCycles:
    """Cycles that Vela estimates; the total of a layer is the largest of the others.

    Args:
        npu: of the Ethos-U itself.
        sram, dram, flash: of traffic with each memory, on-chip and off-chip flash together.
        total: as Vela counts it.
    """

    npu: int
    sram: int
    dram: int
    flash: int
    total: int


@dataclass(frozen=True)
class VelaLayer:
    """A row of Vela's table.

    Args:
        name: of the tensor that it writes, as the file has it; Vela adds to names of what it makes
            itself (``_intermediate``).
        operator: of the file.
        runs_as: what Vela made of it.
        cycles: as estimated.
        macs: multiply-accumulates.
    """

    name: str
    operator: str
    runs_as: str
    cycles: VelaCycles
    macs: int


@dataclass(frozen=True)
class VelaOperator:
    """An operator of the compiled file: its kind, and the tensor that it writes."""

    kind: str
    name: str


@dataclass(frozen=True)
class VelaReport:
    """What Vela made of a file. All figures are Vela's estimate, none is measured.

    Args:
        version: of Vela.
        accelerator, system_config, memory_mode: what the figures assume; never show one without.
        clock_hz: of the system configuration.
        npu, cpu: operators on the Ethos-U, and on the processor beside it.
        layers: one row for each operator on the Ethos-U.
        cycles: of the whole network.
        seconds: of one inference.
        sram_bytes, dram_bytes, flash_bytes: memory that is used; flash on-chip and off-chip.
        macs: multiply-accumulates of one inference.
    """

    version: str
    accelerator: str
    system_config: str
    memory_mode: str
    clock_hz: float
    npu: tuple[VelaOperator, ...]
    cpu: tuple[VelaOperator, ...]
    layers: tuple[VelaLayer, ...]
    cycles: VelaCycles
    seconds: float
    sram_bytes: int
    dram_bytes: int
    flash_bytes: int
    macs: int

    @property
    def assumed(self) -> str:
        """What the figures rest on, in one line."""
        return (
            f"estimated by Vela {self.version}: {self.accelerator}, {self.system_config}, "
            f"{self.memory_mode}, {self.clock_hz / 1e6:g} MHz"
        )


def read_report(summary: Row, layers: Sequence[Row], said: str, version: str) -> VelaReport:
    """The facts of Vela's two tables and of what it printed.

    Raises:
        InputError: this version of Vela names its columns otherwise.
    """
    try:
        return _report(summary, layers, said, version)
    except (KeyError, ValueError) as error:
        raise InputError(
            "Vela",
            "its tables have the columns of Vela 5.2",
            found=f"Vela {version}: {error}",
            next_step="pip install 'ethos-u-vela==5.2.0'",
        ) from error


def _report(summary: Row, layers: Sequence[Row], said: str, version: str) -> VelaReport:
    def whole(*keys: str) -> int:
        return sum(round(float(summary[key])) for key in keys)

    def size(*keys: str) -> int:
        return sum(round(float(summary[key]) * KIB) for key in keys)

    return VelaReport(
        version=version,
        accelerator=summary["accelerator_configuration"],
        system_config=summary["system_config"],
        memory_mode=summary["memory_mode"],
        clock_hz=float(summary["core_clock"]),
        npu=_operators(said, "NPU"),
        cpu=_operators(said, "CPU"),
        layers=tuple(_layer(row) for row in layers),
        cycles=VelaCycles(
            npu=whole("cycles_npu"),
            sram=whole("cycles_sram_access"),
            dram=whole("cycles_dram_access"),
            flash=whole("cycles_on_chip_flash_access", "cycles_off_chip_flash_access"),
            total=whole("cycles_total"),
        ),
        seconds=float(summary["inference_time"]),
        sram_bytes=size("sram_memory_used"),
        dram_bytes=size("dram_memory_used"),
        flash_bytes=size("on_chip_flash_memory_used", "off_chip_flash_memory_used"),
        macs=whole("nn_macs"),
    )


def _layer(row: Row) -> VelaLayer:
    def whole(*keys: str) -> int:
        return sum(round(float(row[key])) for key in keys)

    return VelaLayer(
        name=row["Name"].strip(),
        operator=row["Original Operator"].strip(),
        runs_as=row["NNG Operator"].strip(),
        cycles=VelaCycles(
            npu=whole("NPU"),
            sram=whole("SRAM AC"),
            dram=whole("DRAM AC"),
            flash=whole("OnFlash AC", "OffFlash AC"),
            total=whole("Op Cycles"),
        ),
        macs=whole("MAC Count"),
    )


_LINE = re.compile(r"^\s+(NPU|CPU): (.+?) = (.*?)(?: \(.*)?$", re.MULTILINE)
"""``   NPU: Conv2D = conv1.codes (outputs [1, 32, 32, 16])``."""


def _operators(said: str, where: str) -> tuple[VelaOperator, ...]:
    found = (line.groups() for line in _LINE.finditer(said))
    return tuple(VelaOperator(kind, name) for place, kind, name in found if place == where)
