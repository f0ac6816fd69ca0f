"""Quantization-aware training on the grid that the target runs."""

from __future__ import annotations

from deployq.train.accumulator_limit import AccumulatorLimit
from deployq.train.between import Between
from deployq.train.captures import CaptureInfo
from deployq.train.carrying import carry_weights
from deployq.train.cyclic import CyclicLR
from deployq.train.distillation import distillation_loss
from deployq.train.initialising import initialise_scales
from deployq.train.l2_step import fit_step_l2
from deployq.train.norm_statistics import reestimate_norms
from deployq.train.sam import SAM
from deployq.train.saq import SAQ, Units
from deployq.train.scales import learn_scales
from deployq.train.settling import settle_scales
from deployq.train.sqwa import SQWA
from deployq.train.two_passes import SharpStep

__all__ = [
    "SAM",
    "SAQ",
    "SQWA",
    "AccumulatorLimit",
    "Between",
    "CaptureInfo",
    "CyclicLR",
    "SharpStep",
    "Units",
    "carry_weights",
    "distillation_loss",
    "fit_step_l2",
    "initialise_scales",
    "learn_scales",
    "reestimate_norms",
    "settle_scales",
]
