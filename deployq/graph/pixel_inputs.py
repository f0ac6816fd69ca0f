"""Pin the grid of an image input so that the byte of a pixel is its code, where that is exact."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from torch import fx

from deployq.errors import InputError
from deployq.graph.operators import onnx_type
from deployq.graph.sites import Site
from deployq.qtypes import QType
from deployq.sources.pixel_grid import BYTE, PixelGrid, pixel_grid
from deployq.sources.preprocessing import Preprocessing
from deployq_targets import TargetProfile
from deployq_targets.tensors import FixedOutput
from deployq_targets.words import ScaleForm

KEEPS_RANGE = ("MaxPool",)
"""Operators that may share an image's grid: they make no value that is no pixel."""


class PixelInputs:
    """Decides the grids of image inputs, and keeps a sentence on each for the plan.

    Args:
        images: input to its preprocessing.
    """

    def __init__(self, images: Mapping[str, Preprocessing]) -> None:
        self.images = images
        self.notes: dict[str, str] = {}

    def pinned(
        self,
        module: fx.GraphModule,
        members: Sequence[Site],
        qtype: QType,
        profile: TargetProfile,
        taken: tuple[int, int],
    ) -> FixedOutput | None:
        """Scale and zero point of a grid with an image input on it; None: calibrate it.

        Args:
            taken: lowest and highest code that may stand for 0.0.
        """
        image = next((s.name for s in members if s.kind == "input" and s.name in self.images), None)
        if image is None:
            return None
        found = self._exact(image, module, members, qtype, profile, taken)
        if isinstance(found, str):
            self.notes[image] = (
                f"{image}: pixels are not its codes: {found}; its grid is calibrated"
            )
            return None
        qparams = found.qparams(qtype)
        self.notes[image] = f"{image}: {pixel_rule(qtype)}, its grid is pinned to that"
        return FixedOutput(scale=found.scale, zero_point=int(qparams.zero_point))

    def _exact(
        self,
        image: str,
        module: fx.GraphModule,
        members: Sequence[Site],
        qtype: QType,
        profile: TargetProfile,
        taken: tuple[int, int],
    ) -> PixelGrid | str:
        """The grid, or the reason why there is none."""
        strangers = [
            s.name
            for s in members
            if s.name != image and onnx_type(module, s.core) not in KEEPS_RANGE
        ]
        if strangers:
            return f"{', '.join(strangers)} shares its grid"
        if (qtype.bits, qtype.narrow_range) != (BYTE.bits, False):
            return f"it has {qtype} codes, a pixel has 256 values"
        grid = pixel_grid(self.images[image])
        if isinstance(grid, str):
            return grid
        (low, high), zero_point = taken, grid.zero_point + qtype.qmin
        if not low <= zero_point <= high:
            return f"0.0 is code {zero_point}, the target takes zero points in {low}..{high}"
        if profile.activation.scale_form is not ScaleForm.ANY and np.frexp(grid.scale)[0] != 0.5:
            return f"the target's scales are powers of two, a pixel's step is {grid.scale:g}"
        return grid

    def check(self, inputs: Collection[str]) -> None:
        """Refuse an image that is no input; note one that is on no grid.

        Raises:
            InputError: with the inputs that there are.
        """
        for name in self.images:
            if name not in inputs:
                raise InputError(
                    f"recipe: images.{name}",
                    "an image is an input of the model",
                    found="no input of that name",
                    allowed=", ".join(inputs),
                    next_step="correct the name",
                )
            self.notes.setdefault(name, f"{name}: pixels are not its codes: it stays in float")


def pixel_rule(qtype: QType) -> str:
    """How a byte becomes the code, in words."""
    return "code = pixel" if qtype.qmin == 0 else f"code = pixel - {-qtype.qmin}"
