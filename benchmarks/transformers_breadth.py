"""Transformers of timm and of the package ``transformers``: prepared, exported, held to law 12.

    python -m benchmarks.transformers_breadth [--stage prepare|export|parity] [--models a,b]
        [--target ort-cpu]

Random weights; real images or random ids. Each network runs in a process of its own with a time
limit. Ends with a table, the reasons of the failures, and a line of JSON. Needs the extra
``bench`` (timm, transformers, Pillow).
"""

from __future__ import annotations

import sys

from benchmarks.breadth import arguments_parser, conclude, run_one
from benchmarks.transformer_models.language import IMAGES, TEXT
from benchmarks.transformer_models.vision import NETWORKS
from deployq.progress import progress

MODELS = (*NETWORKS, *IMAGES, *TEXT)


def main() -> int:
    """Print every network's outcome; 1 if fewer than ``--goal`` percent passed."""
    arguments = arguments_parser(__doc__, goal=90).parse_args()
    models = MODELS if arguments.models is None else arguments.models.split(",")
    unknown = [name for name in models if name not in MODELS]
    if unknown:
        raise SystemExit(f"{', '.join(unknown)}: not one of {', '.join(MODELS)}")
    outcomes = []
    with progress(len(models)) as advance:
        for model in models:
            advance(model)
            command = ["benchmarks.transformer_models.one", model]
            outcomes.append(run_one(model, command, arguments))
    return conclude("transformers_breadth", outcomes, arguments)


if __name__ == "__main__":
    sys.exit(main())
