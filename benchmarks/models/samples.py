"""The samples of each data set: which calibrate, which choose, which report.

===========  ==========================  =====================  ===================================
data set     calibrate                   choose                 report
===========  ==========================  =====================  ===================================
CIFAR-10     training images 0..511      test images 0..1999    test images 2000..7999
ImageNet     calib500, images 0..255     calib500, 256..499     all 900 validation images
digits       images 0..499               images 500..999        images 1000..4999
keywords     clips 0..199                the same clips         clips 200..999
anomalies    the first 10 normal clips   these and the first    all other clips: 60 normal, 44
                                         10 anomalous ones      anomalous
faces        calib500, images 0..127     calib500, 128..191     validation images 0..199
stories      stories 0..23               stories 24..35         stories 36..99
===========  ==========================  =====================  ===================================

The digits, keywords, anomalies and stories come as one file each, so their first samples are set
apart.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from benchmarks.data import (
    Floats,
    Labels,
    Normalization,
    affine,
    cifar_images,
    imagenet_images,
    npz,
)
from deployq.data import Dataset

Loader = Callable[[], Dataset]
WINDOWS = 196
"""Windows of five frames in a clip of 200."""
FRAMES = 5
MNIST_MEAN, MNIST_DEVIATION = np.float32(0.1307), np.float32(0.3081)
APART = 10
"""Clips of each kind that calibrate or choose."""
FACES = affine((127.0,) * 3, (128.0,) * 3)


def cifar(name: str, rows: slice, normalize: Normalization) -> Loader:
    """Images of ``cifar10/<name>.npz``."""

    def load() -> Dataset:
        images, labels = cifar_images(name, rows)
        return Dataset({"x": normalize(images)}, labels)

    return load


def digits(rows: slice) -> Loader:
    """MNIST's test images with an even number, (N, 1, 28, 28)."""

    def load() -> Dataset:
        arrays = npz("mnist/mnist_test_even5k")
        real = (arrays["x"][rows].astype(np.float32) / 255 - MNIST_MEAN) / MNIST_DEVIATION
        return Dataset({"x": real[:, None]}, arrays["y"][rows].astype(np.int64))

    return load


def imagenet(name: str, rows: slice, normalize: Normalization) -> Loader:
    """The middle 224x224 of images of ``imagenet/<name>.zip``."""

    def load() -> Dataset:
        images, labels = imagenet_images(name)
        return Dataset({"x": normalize(images[rows])}, labels[rows])

    return load


def faces(name: str, rows: slice) -> Loader:
    """ImageNet pictures stretched to 240 rows of 320: no faces are labelled here."""

    def load() -> Dataset:
        return Dataset({"x": FACES(imagenet_images(name, (240, 320))[0][rows])})

    return load


def keywords(rows: slice) -> Loader:
    """MFCC (N, 1, 49, 10), dequantized as the file states."""

    def load() -> Dataset:
        arrays = npz("kws/kws01_mfcc_int8")
        codes = arrays["x"][rows].astype(np.float32)
        real = (codes - arrays["zero_point"]) * arrays["scale"]
        return Dataset({"x": real[:, None]}, arrays["y"][rows].astype(np.int64))

    return load


def anomalies(choose: Callable[[Labels], Labels]) -> Loader:
    """Windows (clips * 196, 640) of the clips that ``choose`` names, from the labels of all."""

    def load() -> Dataset:
        arrays = npz("ad/ad01_logmel124_f16")
        clips = choose(arrays["y"].astype(np.int64))
        frames = arrays["x"][clips].astype(np.float32)
        labels = np.repeat(arrays["y"][clips].astype(np.int64), WINDOWS)
        return Dataset({"x": windows(frames)}, labels)

    return load


def stories(rows: slice, length: int) -> Loader:
    """The first ``length`` ids of each story; labels are the same, -1 where a story has ended."""

    def load() -> Dataset:
        ids = npz("lm/tinystories_tokens100")["tokens"][rows, :length].astype(np.int64)
        return Dataset({"x": np.maximum(ids, 0)}, ids)

    return load


def windows(frames: Floats) -> Floats:
    """(clips, 200, 128) to (clips * 196, 640): five frames one after the other."""
    parts = [frames[:, start : start + WINDOWS] for start in range(FRAMES)]
    return np.ascontiguousarray(np.concatenate(parts, 2).reshape(-1, FRAMES * frames.shape[2]))


def first_normal(labels: Labels) -> Labels:
    """The normal clips that calibrate."""
    return np.flatnonzero(labels == 0)[:APART]


def first_clips(labels: Labels) -> Labels:
    """The clips of both kinds that choose."""
    return np.concatenate([first_normal(labels), np.flatnonzero(labels == 1)[:APART]])


def other_clips(labels: Labels) -> Labels:
    """The clips that report."""
    return np.setdiff1d(np.arange(len(labels)), first_clips(labels))
