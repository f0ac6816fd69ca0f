"""deployq: what you trained is what the file computes is what the chip computes.

Importing this package loads no torch, onnx or onnxruntime; the public names load on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

__all__ = [
    "SAM",
    "SAQ",
    "SQWA",
    "CalibrationSettings",
    "Dataset",
    "EvolveSettings",
    "Preprocessing",
    "Recipe",
    "TrainingRecipe",
    "calibrate",
    "check",
    "diff",
    "draw_landscape",
    "draw_sharpness",
    "evolve_scales",
    "export",
    "export_golden",
    "infer_target",
    "load_dataset",
    "load_prepared",
    "measure_sensitivity",
    "measure_sharpness",
    "open_dataset",
    "prepare",
    "prove_accumulators",
    "save_prepared",
    "simulate",
    "train_recipe",
    "verify",
]

_ELSEWHERE = {
    "SAM": "deployq.train.sam",
    "SAQ": "deployq.train.saq",
    "SQWA": "deployq.train.sqwa",
    "CalibrationSettings": "deployq_calibration.calibration_settings",
    "Dataset": "deployq.data",
    "diff": "deployq.divergence",
    "draw_landscape": "deployq.landscape.drawing",
    "draw_sharpness": "deployq.landscape.sharpness_drawing",
    "evolve_scales": "deployq.tuning",
    "EvolveSettings": "deployq_calibration.evolq.settings",
    "infer_target": "deployq.target_drafts",
    "Recipe": "deployq.graph.recipe",
    "export_golden": "deployq.golden_vectors.exporting",
    "load_dataset": "deployq.data",
    "measure_sensitivity": "deployq.sensitivity",
    "measure_sharpness": "deployq.landscape.sharpness",
    "open_dataset": "deployq.sources",
    "Preprocessing": "deployq.sources",
    "prove_accumulators": "deployq.accumulators",
    "train_recipe": "deployq.trainer",
    "TrainingRecipe": "deployq.trainer",
}
_HOMES = {name: _ELSEWHERE.get(name, "deployq.pipeline") for name in __all__}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'deployq' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
