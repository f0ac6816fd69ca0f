"""Evol-Q on a prepared model and a data set: which network teaches, which arithmetic judges."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from deployq.arithmetic.contract import QDQ
from deployq.data import Dataset, check_dataset
from deployq.errors import InputError, choose_word
from deployq.graph.float_tensors import is_untouched
from deployq.graph.modes import evaluation_mode
from deployq.graph.preparation import SCALE_SEARCH, PreparedModel
from deployq_calibration.corrections.modes import in_float
from deployq_calibration.evolq import Codes, Evolved, EvolveSettings
from deployq_calibration.evolq import evolve_scales as evolve
from deployq_calibration.evolq.batches import to_home
from deployq_calibration.evolq.search import Teacher
from deployq_calibration.evolq.walk import Advance

BATCH = 64


class Arithmetic(StrEnum):
    """What a candidate's outputs are computed by: ``file``, the real arithmetic that the QDQ file
    states, or ``target``, the target's own requantization.
    """

    FILE = "file"
    TARGET = "target"


def evolve_scales(
    prepared: PreparedModel,
    data: Dataset,
    settings: EvolveSettings | None = None,
    *,
    teacher: Teacher | None = None,
    arithmetic: Arithmetic | str = Arithmetic.FILE,
    checkpoint: Path | None = None,
    writes: bool = True,
    progress: Advance = lambda stage: None,
) -> Evolved:
    """Search the scales of a calibrated network on unlabelled data, in place (Evol-Q).

    Args:
        prepared: calibrated or trained; its codes stay with ``settings.codes = "frozen"``.
        data: calibration data; a part of it is held out. Labels are not looked at.
        settings: sizes of the search; see :class:`EvolveSettings`.
        teacher: the float network; None takes the one inside, which nothing may have written
            into since it was prepared: no learned rounding, bias correction, tuning or training.
        arithmetic: of the fitness.
        checkpoint: a file that the search goes on from, and writes after each visit of a block.
        writes: whether this process of several writes the checkpoint.
        progress: told after each visit.

    Returns:
        Fitness before and after, of the searched batches and of the held-out ones.

    Raises:
        InputError: no block is found, there are fewer samples than a batch, the checkpoint is of
            another search, the teacher does not fit, or none is given and the float network inside
            is not the one that was prepared.
        QuantizationError: a target's lattice that holds no scale of a layer.
    """
    settings = settings or EvolveSettings()
    check_dataset(prepared.inputs, data, prepared.input_dtypes())
    word = choose_word(
        Arithmetic, arithmetic, where="arithmetic", rule="a fitness is computed in one of two",
        next_step="file is the default",
    )  # fmt: skip

    def batches() -> Iterator[list[Tensor]]:
        for batch in data.batches(BATCH):
            yield [torch.from_numpy(np.array(batch.inputs[name])) for name in prepared.inputs]

    contract = QDQ if word is Arithmetic.FILE else prepared.profile.contract()
    evolved = evolve(
        prepared, batches, _teacher(prepared, teacher, settings), settings, contract=contract,
        checkpoint=checkpoint, writes=writes, progress=progress,
    )  # fmt: skip
    prepared.provenance[SCALE_SEARCH] = {"arithmetic": str(word), **evolved.provenance()}
    return evolved


def _teacher(prepared: PreparedModel, teacher: Teacher | None, settings: EvolveSettings) -> Teacher:
    if teacher is not None:
        return teacher
    found = ""
    if settings.codes is Codes.FROZEN:
        found = "weights that are to stand for their codes"
    elif not is_untouched(prepared.module, prepared.provenance):
        found = "weights or biases that a correction or training has written"
    if found:
        raise InputError(
            "teacher",
            "the search compares with the float network",
            found=found,
            allowed='the network inside where calibration had corrections = "none"',
            next_step="give the float network that the model was prepared from",
        )

    def inside(*inputs: Tensor) -> Any:
        with in_float(prepared.module), evaluation_mode(prepared.module), torch.no_grad():
            return prepared.module(*to_home(prepared.module, inputs))

    return inside
