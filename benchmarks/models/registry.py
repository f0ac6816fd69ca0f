"""Every trained network that the benchmarks measure, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from benchmarks.data import IMAGENET_STATISTICS, SYMMETRIC, Normalization, affine, unit_affine
from benchmarks.models.autoencoder import AutoEncoder
from benchmarks.models.cifar_resnet import CifarResNet
from benchmarks.models.dscnn import DsCnn
from benchmarks.models.metrics import ClipAuc, Perplexity, RelativeError, Top1
from benchmarks.models.mlperf_resnet8 import ResNet8
from benchmarks.models.mnist_vit import MnistViT
from benchmarks.models.mobilenet_v1 import MobileNetV1
from benchmarks.models.mobilenet_v2 import MobileNetV2
from benchmarks.models.samples import (
    WINDOWS,
    anomalies,
    cifar,
    digits,
    faces,
    first_clips,
    first_normal,
    imagenet,
    keywords,
    other_clips,
    stories,
)
from benchmarks.models.spec import ModelSpec
from benchmarks.models.stories import Stories
from benchmarks.models.tinymobilenet import TinyMobileNet
from benchmarks.models.ultraface import UltraFace
from benchmarks.models.vit_postnorm import ViTPostNorm
from benchmarks.models.vit_prenorm import ViTPreNorm
from benchmarks.models.vit_tiny import ViTTiny

RAW = affine((0.0,) * 3, (1.0,) * 3)
CIFAR_STATISTICS = unit_affine((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))
FIRST = slice(0, 32)
TRAIN, TEST = "cifar10_train10k", "cifar10_test8k"
CALIB, VAL = "imagenet_calib500_227", "imagenet_val900_227"


def _cifar(
    name: str, build: Callable[[], nn.Module], normalize: Normalization, stated: float
) -> ModelSpec:
    return ModelSpec(
        name, build, (3, 32, 32),
        calibration=cifar(TRAIN, slice(0, 512), normalize),
        choosing=cifar(TEST, slice(0, 2000), normalize),
        reporting=cifar(TEST, slice(2000, 8000), normalize),
        metric=Top1(),
        reference=cifar(TEST, FIRST, normalize),
        stated=(stated, cifar(TEST, slice(None), normalize)),
    )  # fmt: skip


def _imagenet(
    name: str, build: Callable[[], nn.Module], normalize: Normalization, stated: float
) -> ModelSpec:
    return ModelSpec(
        name, build, (3, 224, 224),
        calibration=imagenet(CALIB, slice(0, 256), normalize),
        choosing=imagenet(CALIB, slice(256, 500), normalize),
        reporting=imagenet(VAL, slice(None), normalize),
        metric=Top1(),
        reference=imagenet(VAL, FIRST, normalize),
        stated=(stated, imagenet(VAL, slice(None), normalize)),
    )  # fmt: skip


MODELS = {
    spec.name: spec
    for spec in (
        _cifar("cifar10_mlperf_resnet8", ResNet8, RAW, 86.90),
        _cifar("cifar10_tinymobilenet", TinyMobileNet, CIFAR_STATISTICS, 78.49),
        _cifar("cifar10_resnet20", lambda: CifarResNet(3), IMAGENET_STATISTICS, 91.54),
        _cifar("cifar10_resnet56", lambda: CifarResNet(9), IMAGENET_STATISTICS, 93.10),
        ModelSpec(
            "kws_mlperf_dscnn", DsCnn, (1, 49, 10),
            calibration=keywords(slice(0, 200)),
            choosing=keywords(slice(0, 200)),
            reporting=keywords(slice(200, None)),
            metric=Top1(),
            reference=keywords(FIRST),
            stated=(91.5, keywords(slice(None))),
        ),
        ModelSpec(
            "ad_mlperf_autoencoder", AutoEncoder, (640,),
            calibration=anomalies(first_normal),
            choosing=anomalies(first_clips),
            reporting=anomalies(other_clips),
            metric=ClipAuc(WINDOWS),
            reference=anomalies(lambda labels: np.arange(1)),
            stated=(88.12, anomalies(lambda labels: np.arange(len(labels)))),
        ),
        ModelSpec(
            "ultraface_rfb320", UltraFace, (3, 240, 320),
            calibration=faces(CALIB, slice(0, 128)),
            choosing=faces(CALIB, slice(128, 192)),
            reporting=faces(VAL, slice(0, 200)),
            metric=RelativeError(),
            reference=None,
            stated=None,
        ),
        _imagenet("imagenet_mobilenet_v1_025", MobileNetV1, SYMMETRIC, 63.56),
        _imagenet("imagenet_mobilenet_v2_100", MobileNetV2, IMAGENET_STATISTICS, 78.89),
    )
}  # fmt: skip
"""Convolutional networks, the fastest ones first."""

UNIT = affine((0.0,) * 3, (255.0,) * 3)
OTHER_CIFAR_STATISTICS = unit_affine((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
TRANSFORMERS = {
    spec.name: replace(spec, attends=True)
    for spec in (
        ModelSpec(
            "mnist_vit_prenorm", MnistViT, (1, 28, 28),
            calibration=digits(slice(0, 500)),
            choosing=digits(slice(500, 1000)),
            reporting=digits(slice(1000, None)),
            metric=Top1(),
            reference=digits(FIRST),
            stated=(98.18, digits(slice(None))),
        ),
        _cifar("cifar10_vit_prenorm", ViTPreNorm, UNIT, 56.85),
        _cifar("cifar10_vit_postnorm", ViTPostNorm, OTHER_CIFAR_STATISTICS, 73.46),
        _imagenet("imagenet_vit_tiny16", ViTTiny, SYMMETRIC, 81.67),
    )
}  # fmt: skip
"""Vision transformers; benchmarks take them where they are named."""


LENGTH, WHOLE = 128, 384
"""Ids of a story that files take, and of the longest story."""
LANGUAGE = {
    spec.name: spec
    for spec in (
        ModelSpec(
            "lm_stories260k", Stories, (LENGTH,),
            calibration=stories(slice(0, 24), LENGTH),
            choosing=stories(slice(24, 36), LENGTH),
            reporting=stories(slice(36, None), LENGTH),
            metric=Perplexity(),
            reference=stories(slice(0, 1), 32),
            stated=(4.078, stories(slice(None), WHOLE)),
            dtype=torch.int64,
        ),
    )
}  # fmt: skip
"""Language models on ids; benchmarks take them where they are named."""


def chosen(names: str | None) -> list[ModelSpec]:
    """The networks of a list with commas; all convolutional ones for None.

    Raises:
        SystemExit: an unknown name; the message lists the known ones.
    """
    known = MODELS | TRANSFORMERS | LANGUAGE
    wanted = list(MODELS) if names is None else names.split(",")
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise SystemExit(f"{', '.join(unknown)}: not one of {', '.join(known)}")
    return [known[name] for name in wanted]
