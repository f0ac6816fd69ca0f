"""Vela's tables as frozen facts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from deployq.errors import InputError

KIB, NPU = 1024, "NPU"
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
    """An operator of the file: its kind, and the tensor that it writes."""

    kind: str
    name: str


@dataclass(frozen=True)
class VelaReport:
    """What Vela made of a file. All figures are Vela's estimate, none is measured.

    Args:
        version: of Vela.
        accelerator, system_config, memory_mode: what the figures assume; never show one without.
        clock_hz: of the system configuration.
        layers: operators on the Ethos-U, as Vela made them of those of the file.
        cpu: operators that Vela leaves to the processor beside it; their time is in no figure.
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
    layers: tuple[VelaLayer, ...]
    cpu: tuple[VelaOperator, ...]
    cycles: VelaCycles
    seconds: float
    sram_bytes: int
    dram_bytes: int
    flash_bytes: int
    macs: int

    @property
    def npu(self) -> tuple[VelaOperator, ...]:
        """Operators on the Ethos-U; one that became several stands as often."""
        return tuple(VelaOperator(layer.operator, layer.name) for layer in self.layers)

    @property
    def assumed(self) -> str:
        """What the figures rest on, in one line."""
        return (
            f"estimated by Vela {self.version}: {self.accelerator}, {self.system_config}, "
            f"{self.memory_mode}, {self.clock_hz / 1e6:g} MHz"
        )


def read_report(summary: Row, layers: Sequence[Row], version: str) -> VelaReport:
    """The facts of Vela's two tables.

    Raises:
        InputError: this version of Vela names its columns otherwise.
    """
    try:
        return _report(summary, layers, version)
    except (KeyError, ValueError) as error:
        raise InputError(
            "Vela",
            "its tables have the columns of Vela 5.2",
            found=f"Vela {version}: {error}",
            next_step="pip install 'ethos-u-vela==5.2.0'",
        ) from error


def _report(summary: Row, layers: Sequence[Row], version: str) -> VelaReport:
    def whole(*keys: str) -> int:
        return sum(round(float(summary[key])) for key in keys)

    def size(*keys: str) -> int:
        return sum(round(float(summary[key]) * KIB) for key in keys)

    npu = [row for row in layers if row["Target"].strip() == NPU]
    return VelaReport(
        version=version,
        accelerator=summary["accelerator_configuration"],
        system_config=summary["system_config"],
        memory_mode=summary["memory_mode"],
        clock_hz=float(summary["core_clock"]),
        layers=tuple(_layer(row) for row in npu),
        cpu=tuple(_operator(row) for row in layers if row not in npu),
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


def _operator(row: Row) -> VelaOperator:
    return VelaOperator(row["Original Operator"].strip(), row["Name"].strip())
