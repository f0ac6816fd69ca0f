"""A set of images as columns: ``x``, decoded to bytes once and normalised by batch, and ``y``."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from deployq.columns import Columns, LazyColumn
from deployq.errors import InputError
from deployq.progress import Advance
from deployq.sources.image_files import ImageFiles, open_files
from deployq.sources.image_labels import labelled_images
from deployq.sources.images import decode
from deployq.sources.preprocessing import STATE, Preprocessing

MAX_BYTES = 8 << 30
"""Of all decoded images together."""


def read_images(
    path: Path, preprocessing: Preprocessing | None, labels_file: Path | None, progress: Advance
) -> Columns:
    """Decode every image of a folder or ``.zip``, so that a broken one shows at once.

    Raises:
        InputError: no preprocessing, no images, a broken image, images of several sizes, labels
            that do not fit, or more than :data:`MAX_BYTES`.
        UnsafeFileError: an unsafe .zip.
    """
    if preprocessing is None:
        raise InputError(
            str(path),
            "the preprocessing of images is stated, never guessed",
            found="none",
            allowed='at least scale, such as "x/255" or "x/127.5-1"; mean, std, resize, crop',
            next_step=STATE,
        )
    with open_files(path) as files:
        names, labels = labelled_images(files, labels_file)
        pixels = _decode_all(files, names, preprocessing, progress)
    columns: dict[str, np.ndarray | LazyColumn] = {"x": image_column(pixels, preprocessing)}
    if labels is not None:
        columns["y"] = np.array(labels, np.int64)
    return Columns(columns)


def image_column(pixels: np.ndarray, preprocessing: Preprocessing) -> LazyColumn:
    """uint8 (n, h, w, c) that is normalised when it is read."""
    shape = preprocessing.row_shape(*pixels.shape[1:3])
    return LazyColumn(pixels, preprocessing.normalise, shape, np.dtype(np.float32))


def _decode_all(
    files: ImageFiles, names: list[str], preprocessing: Preprocessing, progress: Advance
) -> np.ndarray:
    """uint8 (n, h, w, c); the first image says how large all are."""
    pixels: np.ndarray = np.empty((0, 0, 0, 0), np.uint8)
    for index, name in enumerate(names):
        image = decode(f"{files.where}: {name}", files.read(name), preprocessing)
        if index == 0:
            _check_total(files, len(names), image)
            pixels = np.empty((len(names), *image.shape), np.uint8)
        if image.shape != pixels.shape[1:]:
            raise InputError(
                f"{files.where}: {name}",
                "all images have one size after preprocessing",
                found=f"{image.shape[0]}x{image.shape[1]}",
                allowed=f"{pixels.shape[1]}x{pixels.shape[2]}, as {names[0]} has",
                next_step="state crop, with resize where images may be smaller, or size",
            )
        pixels[index] = image
        progress("read images")
    return pixels


def _check_total(files: ImageFiles, count: int, image: np.ndarray) -> None:
    if count * image.nbytes > MAX_BYTES:
        raise InputError(
            files.where,
            "decoded images fit into the memory limit",
            found=f"{count} of {image.nbytes} bytes",
            allowed=f"{MAX_BYTES} bytes",
            next_step="take fewer images, or a smaller crop",
        )
