"""Arrays of the data folder, named by ``DEPLOYQ_DATA`` (default ``../shared/data``).

Nothing of that folder belongs to this project. Images come back as bytes (N, H, W, 3); a
normalization turns them into what a network takes.
"""

from __future__ import annotations

import csv
import io
import os
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]
Normalization = Callable[[Bytes], Floats]

DATA = Path(os.environ.get("DEPLOYQ_DATA", "../shared/data"))


def affine(mean: tuple[float, ...], deviation: tuple[float, ...]) -> Normalization:
    """``(x - mean) / deviation`` for each colour, on 0..255; (N, H, W, 3) to (N, 3, H, W)."""
    offset, width = np.array(mean, np.float32), np.array(deviation, np.float32)

    def normalize(images: Bytes) -> Floats:
        real = (images.astype(np.float32) - offset) / width
        return np.ascontiguousarray(real.transpose(0, 3, 1, 2))

    return normalize


def unit_affine(mean: tuple[float, ...], deviation: tuple[float, ...]) -> Normalization:
    """``(x / 255 - mean) / deviation`` for each colour; (N, H, W, 3) to (N, 3, H, W)."""
    offset, width = np.array(mean, np.float32), np.array(deviation, np.float32)

    def normalize(images: Bytes) -> Floats:
        real = (images.astype(np.float32) / 255 - offset) / width
        return np.ascontiguousarray(real.transpose(0, 3, 1, 2))

    return normalize


IMAGENET_STATISTICS = unit_affine((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
SYMMETRIC = affine((127.5,) * 3, (127.5,) * 3)


def npz(name: str) -> dict[str, npt.NDArray[Any]]:
    """Every array of ``<name>.npz``."""
    with np.load(DATA / f"{name}.npz", allow_pickle=False) as arrays:
        return dict(arrays)


def cifar_images(name: str, rows: slice) -> tuple[Bytes, Labels]:
    """Images (N, 32, 32, 3) and labels of ``cifar10/<name>.npz``."""
    arrays = npz(f"cifar10/{name}")
    return arrays["x"][rows], arrays["y"][rows].astype(np.int64)


@cache
def imagenet_images(name: str, resize: tuple[int, int] | None = None) -> tuple[Bytes, Labels]:
    """Images and labels of ``imagenet/<name>.zip``, in stored order.

    Args:
        name: the archive.
        resize: (height, width), bilinear, of the whole 227x227 picture; None crops the middle
            224x224.
    """
    from PIL import Image

    images = []
    with zipfile.ZipFile(DATA / f"imagenet/{name}.zip") as archive:
        rows = list(csv.DictReader(io.StringIO(archive.read("labels.csv").decode())))
        for row in rows:
            picture = Image.open(io.BytesIO(archive.read(row["file"]))).convert("RGB")
            if resize is not None:
                picture = picture.resize(resize[::-1], Image.Resampling.BILINEAR)
            images.append(np.asarray(picture))
    stacked = np.stack(images)
    labels = np.array([int(row["label"]) for row in rows], np.int64)
    return (stacked if resize else stacked[:, 1:225, 1:225]), labels
