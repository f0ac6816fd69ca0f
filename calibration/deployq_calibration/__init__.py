"""Everything that sets quantization parameters without training."""

from __future__ import annotations

from deployq_calibration.calibration import calibrate_model

__all__ = ["calibrate_model"]
