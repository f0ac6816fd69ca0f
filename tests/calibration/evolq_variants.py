"""Searches that one process, two processes and a resumed process have to end alike.

``python -m tests.calibration.evolq_variants FOLDER`` under torchrun writes what the first process
found.
"""

from __future__ import annotations

import json
import sys
import weakref
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed, nn

import deployq
from deployq.arithmetic.contract import QDQ, Accumulator, Overflow
from deployq.data import Dataset
from deployq.graph.preparation import PreparedModel
from deployq.trainer.ranks import joined_ranks
from deployq_calibration.calibration_settings import CalibrationSettings
from deployq_calibration.evolq import Evolved, evolve_scales
from tests.calibration.test_evolq import SMALL, images, network, scales

TARGET = """
schema = 1
name = "variant"
extends = "int4-npu"
summary = "a target of tests"
"""
POW2 = '[weight]\nscale_form = "pow2"\n[activation]\nscale_form = "pow2"\n'


OVERFLOWS = 16
"""Bits that hold every sum of the start, and not those of every candidate."""


@dataclass(frozen=True)
class Variant:
    """A search of the network of these tests.

    Args:
        settings: beside the small ones.
        table: what the target has beside that of int4-npu.
        accumulator: its bits in the arithmetic of the fitness.
    """

    settings: dict[str, Any] = field(default_factory=dict)
    table: str = ""
    accumulator: int = 64

    def model(self, folder: Path, net: nn.Module | None = None) -> PreparedModel:
        """A calibrated network for the target."""
        path = folder / "target.toml"
        path.write_text(TARGET + self.table)
        prepared = deployq.prepare(net or network(), [torch.zeros(2, 6, 8)], str(path))
        return deployq.calibrate(prepared, images(), CalibrationSettings(corrections=()))

    def search(
        self,
        prepared: PreparedModel,
        teacher: nn.Module | None = None,
        data: Dataset | None = None,
        settings: dict[str, Any] | None = None,
        **more: Any,
    ) -> Evolved:
        """Search its scales, from the images of these tests unless others are given."""
        sizes = replace(SMALL, **{**self.settings, **(settings or {})})
        (x,) = (data or images()).inputs.values()
        contract = replace(QDQ, accumulator=Accumulator(self.accumulator, Overflow.REJECT))
        return evolve_scales(
            prepared, lambda: [[torch.from_numpy(x)]], teacher or network(), sizes,
            contract=contract, **more,
        )  # fmt: skip


VARIANTS = {
    "plain": Variant(),
    "racing": Variant({"racing": 0.5, "batch": 8, "width": 0.2}),
    "frozen": Variant({"codes": "frozen"}),
    "activations": Variant({"activations": True, "searched": "all"}),
    "powers": Variant({"activations": True, "searched": "all"}, POW2),
    "overflow": Variant(
        {"width": 0.9, "searched": "all", "batch": 8, "activations": True}, "", OVERFLOWS
    ),
    "patience": Variant({"patience": 1, "passes": 9, "width": 0.4}),
}


def told(evolved: Evolved, prepared: PreparedModel) -> dict[str, Any]:
    """What has to be the same, as plain data."""
    found = evolved.to_json()
    kept = {name: found[name] for name in ("before", "after", "history", "held_back", "stopped")}
    return json.loads(json.dumps(kept)) | {"scales": listed(scales(prepared))}


def listed(tensors: dict[str, Tensor]) -> dict[str, Any]:
    return {name: tensor.tolist() for name, tensor in tensors.items()}


def main(folder: Path) -> None:
    """All variants, by every process together; nothing may keep their process group at the end."""
    with joined_ranks("cpu") as ranks:
        group = weakref.ref(distributed.group.WORLD)
        for name, variant in VARIANTS.items():
            own = folder / f"rank{ranks.rank}"
            own.mkdir(exist_ok=True)
            prepared = variant.model(own)
            found = told(variant.search(prepared), prepared)
            (own / f"{name}.json").write_text(json.dumps(found))
    assert group() is None, "the process group outlives its ranks"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
