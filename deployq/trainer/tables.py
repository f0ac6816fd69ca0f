"""The tables of a training recipe; the text under each field is its description for people."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from deployq_targets.section import Count, Rate, Section, Size

Share = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]


class DataTable(Section):
    """Where samples and labels come from: .npz, folder or .zip of images, module:callable."""

    train: str
    """Training data, with labels."""
    validation: str | None = None
    """Data that chooses the best epoch; without it the last epoch is the result."""
    train_labels: str | None = None
    """Labels file of training images."""
    validation_labels: str | None = None
    """Labels file of validation images."""
    calibration: str | None = None
    """Data that sets the first scales; training samples where it is left out."""
    calibration_samples: Count = 512
    """How many training samples set the first scales, drawn by the seed."""


class AugmentationTable(Section):
    """Changes of training images, drawn by (seed, epoch, sample); none by default."""

    flip: bool = False
    """Half of the images are mirrored, left to right."""
    crop_padding: Size = 0
    """Pixels of 0.0, in the model's input, put on every side before an image is cut out again."""


class CalibrationTable(Section):
    """How the first scales are chosen; training moves them on."""

    observer: str = "mse"
    """For activations: minmax, mse, percentile[:99.99], entropy, moving_average[:0.01]."""
    weight_observer: str = "mse"
    """For weights: minmax, mse or percentile[:99.99]."""


class ScalesTable(Section):
    """Learned step sizes (LSQ)."""

    activations: bool = True
    """Scales of activations learn."""
    weights: bool = True
    """Scales of weights learn."""
    rate: Positive = 1.0
    """Learning rate of scales over that of weights; scales never decay."""


class OptimizerTable(Section):
    """The torch optimizer."""

    kind: Literal["sgd", "adamw"] = "sgd"
    """sgd or adamw."""
    rate: Rate = 0.01
    """Highest learning rate."""
    weight_decay: NotNegative = 1e-4
    """Of everything but scales."""
    momentum: Share = 0.9
    """Of sgd."""
    nesterov: bool = True
    """Of sgd."""
    betas: tuple[Share, Share] = (0.9, 0.999)
    """Of adamw."""


class ScheduleTable(Section):
    """How long, and how the learning rate moves."""

    epochs: Count = 10
    """Passes over the training data, after those of the stages."""
    kind: Literal["cosine", "constant", "step"] = "cosine"
    """cosine to 0, constant, or step."""
    warmup_epochs: Size = 0
    """Epochs in which the rate rises in a line from 0."""
    milestones: tuple[Count, ...] = ()
    """Of step: epochs after which the rate is multiplied by factor."""
    factor: Positive = 0.1
    """Of step."""


class DistillationTable(Section):
    """Knowledge distillation from the float model (Hinton et al. 2015, arXiv 1503.02531)."""

    temperature: Positive = 4.0
    """Of both softmaxes."""
    weight: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Share of the distillation loss; the rest is the loss on labels."""


class StageTable(Section):
    """Progressive widths: a stage before the training at the final widths."""

    epochs: Count
    """Passes over the training data; the schedule starts anew in each stage."""
    weight_bits: Count | None = None
    """Width of every weight but those of layers with a width of their own."""
    activation_bits: Count | None = None
    """Width of every activation."""
