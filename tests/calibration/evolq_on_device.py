"""Searches that end alike on the processor and on another device.

``python -m tests.calibration.evolq_on_device FOLDER`` prints what each found, as JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import deployq
from deployq.errors import InputError
from deployq.graph.preparation import PreparedModel
from deployq_calibration.calibration_settings import CalibrationSettings
from deployq_calibration.evolq import EvolveSettings
from deployq_calibration.evolq.batches import teacher_outputs
from tests import pretend_device
from tests.calibration.evolq_variants import VARIANTS, told
from tests.calibration.test_evolq import SMALL, images, network, scales

SEARCHED = ("racing", "frozen", "powers")


class Normed(nn.Module):
    """Operators in float on the device: LayerNorm and GELU around attention."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.end = nn.LayerNorm(8), nn.Linear(8, 5)
        self.a, self.m = nn.MultiheadAttention(8, 2, batch_first=True), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        seen = self.norm(x)
        x = x + self.a(seen, seen, seen, need_weights=False)[0]
        scores: Tensor = self.end(torch.nn.functional.gelu(self.m(self.norm(x))).mean(1))
        return scores


def normed(home: str) -> tuple[PreparedModel, nn.Module]:
    """A model on a device, and its teacher."""
    torch.manual_seed(5)
    net = Normed().eval()
    prepared = deployq.prepare(net, [torch.zeros(2, 6, 8)], "ort-cpu")
    deployq.calibrate(prepared, images(), CalibrationSettings(corrections=()))
    prepared.module.to(home)
    return prepared, net


def floats(device: str) -> dict[str, Any]:
    """A search with operators in float, of a model that lives on the device."""
    prepared, net = normed(device)
    settings = EvolveSettings(**(vars(SMALL) | {"searched": "all", "device": device, "passes": 1}))
    found = deployq.evolve_scales(prepared, images(), settings, teacher=net)
    homes = {tensor.device.type for tensor in prepared.module.state_dict().values()}
    return told(found, prepared) | {"homes": sorted(homes)}


def taught(device: str) -> Any:
    """What a teacher on the device says."""
    x = torch.from_numpy(images().inputs["x"])
    (outputs,) = teacher_outputs(normed("cpu")[1].to(device), (x,))
    return outputs.tolist()


def refused(there: pretend_device.Device) -> str:
    """A device whose products are rounded."""
    there.rounds = True
    prepared = VARIANTS["plain"].model(Path(sys.argv[1]))
    before = scales(prepared)
    try:
        VARIANTS["plain"].search(prepared, settings={"device": pretend_device.NAME})
    except InputError as error:
        assert all(torch.equal(s, before[n]) for n, s in scales(prepared).items())
        return str(error)
    return ""


def main(folder: Path) -> None:
    """Each search on both devices."""
    there, found = pretend_device.use(), dict[str, Any]()
    for name in SEARCHED:
        for device in ("cpu", pretend_device.NAME):
            prepared = VARIANTS[name].model(folder)
            settings = {"device": device, "passes": 1}
            evolved = VARIANTS[name].search(prepared, network(), settings=settings)
            found[f"{name}.{device}"] = told(evolved, prepared)
    for device in ("cpu", pretend_device.NAME):
        found |= {f"floats.{device}": floats(device), f"taught.{device}": taught(device)}
    print(json.dumps({"calls": there.calls, "refused": refused(there), **found}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
