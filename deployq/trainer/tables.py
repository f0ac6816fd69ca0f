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
    start: Literal["calibration", "lsq"] = "calibration"
    """calibration, or lsq: twice the mean magnitude over the root of the highest code."""
    rate: Positive = 1.0
    """Learning rate of a scale over that of weights, in units of the scale; they never decay."""
    settle_epochs: Size = 1
    """Last epochs in which scales rest on the lattice of a target that has one."""


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


class NormsTable(Section):
    """BatchNorm in layers on the grid."""

    frozen_epochs: Size = 0
    """Last epochs in which layers train on the running statistics, as evaluated, by plain steps."""


class DistillationTable(Section):
    """Knowledge distillation from the float model (Hinton et al. 2015, arXiv 1503.02531)."""

    temperature: Positive = 4.0
    """Of both softmaxes."""
    weight: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Share of the distillation loss; the rest is the loss on labels."""


class SamTable(Section):
    """Sharpness-aware minimization on every parameter (arXiv 2010.01412)."""

    radius: Positive = 0.05
    """Length of the perturbation."""
    every: Count = 1
    """A full step every so many."""
    between: Literal["plain", "reuse", "looksam"] = "plain"
    """What the steps between full ones do."""
    look_rate: Positive = 0.7
    """Of looksam: weight of the direction that the last full step left."""
    synchronized: bool = False
    """All processes climb together; else each by its own share of the batch."""


class SaqTable(SamTable):
    """Sharpness-aware quantization (arXiv 2111.12273)."""

    radius: Positive = 0.3
    """Length of the perturbation, in units."""
    case: Literal[1, 2, 3] = 3
    """3 is the released method."""
    units: Literal["deviation", "absolute"] = "deviation"
    """Standard deviations of each layer's weight, or lengths as they stand."""
    biases: bool = True
    """Biases are in the ball."""
    norms: bool = True
    """Gains and biases of BatchNorms are in the ball."""
    scales: bool = False
    """Learned scales are in the ball."""


class SqwaTable(Section):
    """Stochastic quantized weight averaging (arXiv 2002.00343); its numbers are our choice."""

    start: Literal["direct", "learned"] = "direct"
    """direct: fitted steps, then settling; learned: steps learn while it settles, then rest."""
    settle_epochs: Count = 3
    """Training before the cycles, by [schedule]."""
    captures: Count = 7
    """Models that are averaged; odd numbers have no ties."""
    cycle_epochs: Count = 1
    """Epochs of a cycle, at whose end a model is captured."""
    high: Rate | None = None
    """Highest rate of a cycle; optimizer.rate where it is left out."""
    low: Rate | None = None
    """Lowest rate of a cycle; a hundredth of high where it is left out."""
    finetune_epochs: Count = 2
    """After averaging."""
    finetune_rate: Rate | None = None
    """Highest rate of fine-tuning; twice low where it is left out."""
    refit: bool = True
    """The step is fitted to the average; else it stays that of the captures."""


class StageTable(Section):
    """Progressive widths: a stage before the training at the final widths."""

    epochs: Count
    """Passes over the training data; the schedule starts anew in each stage."""
    weight_bits: Count | None = None
    """Width of every weight but those of layers with a width of their own."""
    activation_bits: Count | None = None
    """Width of every activation."""
