"""Tiny recipes: a network without BatchNorm and one with, and images that are easy to tell."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

SAMPLES, CLASSES, SIDE = 64, 4, 6


class Plain(nn.Sequential):
    """Convolution, ReLU, fully connected; (N, 1, 6, 6) to (N, 4) scores."""

    def __init__(self, *norm: nn.Module, stride: int) -> None:
        conv, side = nn.Conv2d(1, 4, 3, stride), (SIDE - 3) // stride + 1
        head = nn.Linear(4 * side**2, CLASSES)
        super().__init__(conv, *norm, nn.ReLU(), nn.Flatten(), head)


def write_network(path: Path, *norm: nn.Module, stride: int = 2) -> None:
    """A float network from a fixed seed as ``.pt2``."""
    torch.manual_seed(0)
    batch = {0: torch.export.Dim.DYNAMIC}
    example = torch.zeros(2, 1, SIDE, SIDE)
    program = torch.export.export(
        Plain(*norm, stride=stride).eval(), (example,), dynamic_shapes=(batch,)
    )
    torch.export.save(program, path)


def write_data(folder: Path) -> None:
    """``train.npz`` and ``validation.npz``: noise with a bright row that is the class."""
    generator = np.random.default_rng(0)
    for name, count in (("train", SAMPLES), ("validation", SAMPLES // 2)):
        y = generator.integers(0, CLASSES, count)
        x = generator.normal(0.0, 0.3, (count, 1, SIDE, SIDE)).astype(np.float32)
        x[np.arange(count), 0, y + 1] += 1.0
        np.savez(folder / f"{name}.npz", x=x, y=y)


def write_recipe(folder: Path, name: str = "recipe", text: str = "", **keys: Any) -> Path:
    """A recipe for two epochs of four steps; keys win, ``text`` holds more tables."""
    plain = {"model": "plain.pt2", "target": "int8-npu", "batch_size": 16, **keys}
    lines = [f"{key} = {json.dumps(value)}" for key, value in plain.items()]
    data = "" if "[data]" in text else '[data]\ntrain = "train.npz"\nvalidation = "validation.npz"'
    schedule = "" if "[schedule]" in text else "[schedule]\nepochs = 2"
    quick = (
        ""
        if "[calibration]" in text
        else '[calibration]\nobserver = "minmax"\nweight_observer = "minmax"'
    )
    path = folder / f"{name}.toml"
    path.write_text("\n".join([*lines, data, schedule, quick, text]))
    return path
