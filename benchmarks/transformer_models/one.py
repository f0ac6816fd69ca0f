"""Take one transformer through the stages; prints one line of JSON.

    python -m benchmarks.transformer_models.one NAME --stage prepare|export|parity

The benchmark ``benchmarks.transformers_breadth`` starts this in a process of its own for each.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch

from benchmarks.stages import STAGES, Subject, report
from benchmarks.timm_cnns.network import images
from benchmarks.transformer_models import language, vision

CALIBRATION, VALIDATION = "imagenet_calib500_227", "imagenet_val900_227"


def main() -> None:
    """Print the outcome as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--stage", choices=STAGES, default=STAGES[-1])
    parser.add_argument("--target", default="ort-cpu")
    flags = parser.parse_args()
    report(flags.model, lambda: subject(flags.model), flags.stage, flags.target)


def subject(name: str) -> Subject:
    """The network with real images, or with ids drawn at random."""
    if name in language.TEXT:
        ids = np.random.default_rng(0).integers(2, language.WORDS, (1 << 16, language.TOKENS))
        example = torch.zeros(2, language.TOKENS, dtype=torch.int64)
        model = language.network(name)
        return Subject(model, example, ids, lambda count: ids[64 : 64 + count])
    size = language.PIXELS if name in language.IMAGES else vision.NETWORKS[name].size
    pixels = images(CALIBRATION, size)
    model = language.network(name) if name in language.IMAGES else vision.network(name, pixels)
    example = torch.zeros(2, 3, size, size)
    return Subject(model, example, pixels, lambda count: images(VALIDATION, size)[:count])


if __name__ == "__main__":
    main()
