"""How many samples law 12 asks for."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from deployq.verifier.evidence import GOLDEN_FILE
from deployq.verifier.report import Limits

SPARE = 2.2
"""The reference has codes for fewer tensors than the file."""


def images_wanted(bundle: Path) -> int:
    """Its images, or as many as make its codes, by the code tensors in the golden vectors."""
    limits = Limits()
    with np.load(bundle / GOLDEN_FILE, allow_pickle=False) as golden:
        codes = [golden[name] for name in golden.files if name.startswith("codes/")]
    each = sum(array.size for array in codes) / len(codes[0])
    return max(limits.min_images, math.ceil(SPARE * limits.min_codes / each))
