"""How scales are chosen and corrected, in the words of a user."""

from __future__ import annotations

from dataclasses import dataclass

from deployq_calibration.corrections import DEFAULT, CorrectionSettings


@dataclass(frozen=True)
class CalibrationSettings:
    """How scales are chosen, and what is corrected around that choice.

    Args:
        activations: ``minmax``, ``mse``, ``percentile``, ``entropy`` or ``moving_average``; a
            parameter follows a colon, ``percentile:99.9``.
        weights: ``minmax``, ``mse`` or ``percentile``.
        corrections: names, in any order, one with its parameter: ``smoothing:0.7``; see
            :func:`deployq_calibration.corrections.correct_model`.
        iterations: optimizer steps for each block of learned rounding, and of tuning.
        seed: of the samples that these steps take.
    """

    activations: str = "mse"
    weights: str = "mse"
    corrections: tuple[str, ...] = DEFAULT
    iterations: int = CorrectionSettings.iterations
    seed: int = 0
