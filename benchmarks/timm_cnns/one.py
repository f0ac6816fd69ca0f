"""Take one network of timm through the stages; prints one line of JSON.

    python -m benchmarks.timm_cnns.one NAME --size 64 --stage prepare|export|parity

The benchmark ``benchmarks.breadth`` starts this in a process of its own for each network.
"""

from __future__ import annotations

import argparse

import torch

from benchmarks.stages import STAGES, Subject, report
from benchmarks.timm_cnns.network import images, network

STATISTICS_BATCH = 32


def main() -> None:
    """Print the outcome as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--stage", choices=STAGES, default=STAGES[-1])
    parser.add_argument("--target", default="ort-cpu")
    flags = parser.parse_args()
    report(flags.model, lambda: subject(flags.model, flags.size), flags.stage, flags.target)


def subject(name: str, size: int) -> Subject:
    """The network, calibrated and verified on different images."""
    pixels = images("imagenet_calib500_227", size)
    return Subject(
        network(name, pixels[:STATISTICS_BATCH]),
        torch.zeros(2, 3, size, size),
        pixels,
        lambda count: images("imagenet_val900_227", size)[:count],
    )


if __name__ == "__main__":
    main()
