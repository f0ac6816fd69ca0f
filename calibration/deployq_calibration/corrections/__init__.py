"""Corrections: what post-training quantization does beside choosing ranges.

One file each: smoothing, cross-layer equalization, factors, learned rounding, bias correction,
tuning.
:func:`correct_model` puts those that are asked for around the choice of the scales.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from deployq.errors import InputError
from deployq.graph.float_tensors import FLOAT_DIGEST, float_digest, is_untouched
from deployq.graph.preparation import PreparedModel
from deployq_calibration.corrections import (
    bias_correction,
    equalization,
    factors,
    rounding,
    smoothing,
    tuning,
)
from deployq_calibration.corrections.bias_correction import correct_biases
from deployq_calibration.corrections.equalization import equalize
from deployq_calibration.corrections.factors import scale_channels
from deployq_calibration.corrections.modes import FloatNetwork
from deployq_calibration.corrections.rounding import learn_rounding
from deployq_calibration.corrections.settings import Advance, Batches, Change, CorrectionSettings
from deployq_calibration.corrections.smoothing import smooth, smoothing_settings
from deployq_calibration.corrections.tuning import tune_scales

__all__ = [
    "AFTER",
    "BEFORE",
    "DEFAULT",
    "Change",
    "CorrectionSettings",
    "FloatNetwork",
    "check_corrections",
    "correct_biases",
    "correct_model",
    "equalize",
    "learn_rounding",
    "scale_channels",
    "smooth",
    "tune_scales",
]

Before: TypeAlias = Callable[
    [PreparedModel, Batches, CorrectionSettings, Advance], tuple[Change, ...]
]
After: TypeAlias = Callable[
    [PreparedModel, Batches, CorrectionSettings, Advance, FloatNetwork], tuple[Change, ...]
]

BEFORE: dict[str, Before] = {
    smoothing.NAME: smooth,
    equalization.NAME: equalize,
    factors.NAME: scale_channels,
}
"""Corrections of the float weights: the scales are chosen afterwards."""

AFTER: dict[str, After] = {
    rounding.NAME: learn_rounding,
    bias_correction.NAME: correct_biases,
    tuning.NAME: tune_scales,
}
"""Corrections of a calibrated model, in the order in which they run."""

DEFAULT = (factors.NAME, rounding.NAME, bias_correction.NAME, tuning.NAME)
"""Factors stand where one scale costs much behind a function in float; learned rounding and tuning
take networks with weights under 8 bits, bias correction all.
"""


def correct_model(
    prepared: PreparedModel,
    batches: Batches,
    settings: CorrectionSettings,
    *,
    names: Sequence[str] = DEFAULT,
    calibrate: Callable[[], None] = lambda: None,
    progress: Advance = lambda stage: None,
) -> tuple[Change, ...]:
    """Run the named corrections in the order that they need, in place.

    Args:
        prepared: a calibrated model, or one that ``calibrate`` calibrates.
        batches: called once for each pass over the calibration data.
        settings: of all corrections.
        names: ``smoothing``, ``equalization``, ``factors``, ``rounding``, ``bias``, ``tuning``;
            their order does not matter. Parameters follow a colon: ``smoothing:0.7``,
            ``smoothing:0.7:pow2``.
        calibrate: chooses the scales; runs after the first three and before the others.
        progress: told of each step.

    Returns:
        What was changed, in the order of the changes.

    Raises:
        InputError: an unknown name, or no data.
    """
    check_corrections(names)
    for wish in names:
        settings = smoothing_settings(wish, settings) if ":" in wish else settings
    names = [_name(wish) for wish in names]
    changes: list[Change] = []
    before = [correction for name, correction in BEFORE.items() if name in names]
    untouched = bool(before) and is_untouched(prepared.module, prepared.provenance)
    for correction in before:
        changes += correction(prepared, batches, settings, progress)
    if untouched:  # they keep what the float network computes
        prepared.provenance[FLOAT_DIGEST] = float_digest(prepared.module)
    calibrate()
    wanted = [correction for name, correction in AFTER.items() if name in names]
    if wanted:
        original = FloatNetwork(prepared)  # what all are held to, whatever the one before wrote
        for after in wanted:
            changes += after(prepared, batches, settings, progress, original)
    return tuple(changes)


def check_corrections(names: Sequence[str]) -> None:
    """Refuse a correction that there is not, or a parameter that it does not take.

    Raises:
        InputError: with the names that there are.
    """
    known = [*BEFORE, *AFTER]
    for name in names:
        if _name(name) == smoothing.NAME:
            smoothing_settings(name, CorrectionSettings())
        elif name not in known:
            raise InputError(
                "corrections",
                "a correction must exist",
                found=name,
                allowed=", ".join([*known, "none"]),
                next_step="name some of these, with commas between them, or none",
            )


def _name(wish: str) -> str:
    """Without parameters."""
    return wish.partition(":")[0]
