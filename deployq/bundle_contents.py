"""What an export writes into its bundle beside the prepared model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch

from deployq.bundle import environment_facts
from deployq.graph.integers import layer_integers, rescued_channels
from deployq.graph.preparation import SCALE_SEARCH, PreparedModel
from deployq.simulator import Simulation


def write_model(model: onnx.ModelProto, path: Path) -> None:
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString(deterministic=True))


def write_golden(fed: Mapping[str, npt.NDArray[Any]], simulation: Simulation, path: Path) -> None:
    """Inputs, every code tensor and the outputs, under ``input/``, ``codes/`` and ``output/``."""
    inputs: dict[str, Any] = {f"input/{name}": array for name, array in fed.items()}
    np.savez(path, allow_pickle=False, **inputs, **simulation_arrays(simulation))


def simulation_arrays(simulation: Simulation) -> dict[str, Any]:
    """Codes, sums where they were asked for, outputs: under ``codes/``, ``sums/``, ``output/``."""
    codes = {f"codes/{name}": codes.numpy() for name, codes in simulation.codes.items()}
    codes |= {f"sums/{name}": sums.numpy() for name, sums in simulation.sums.items()}
    return codes | {f"output/{name}": array for name, array in simulation.outputs.items()}


def export_facts(prepared: PreparedModel, model: onnx.ModelProto) -> dict[str, object]:
    tuned = {name: fact for name, fact in prepared.provenance.items() if name == SCALE_SEARCH}
    return {
        "target": prepared.plan.target,
        "inputs": {name: list(shape) for name, shape in prepared.inputs.items()},
        "outputs": [output.name for output in model.graph.output],
        "opset": model.opset_import[0].version,
        "floats": list(prepared.floats),
        "notes": list(prepared.plan.notes),
        **tuned,
        "rescued_channels": {
            layer: list(channels)
            for layer, channels in rescued_channels(layer_integers(prepared)).items()
        },
        "environment": environment_facts(torch.get_num_threads()),
    }
