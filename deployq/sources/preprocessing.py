"""What turns the bytes of an image into the model's input: stated by the user, never guessed."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from deployq.errors import InputError

CHANNELS = {"rgb": 3, "bgr": 3, "gray": 1}
STATE = "state [preprocessing] in deployq.toml, or --scale, --mean, --std, --resize and --crop"
_NUMBER = r"(\d+(?:\.\d*)?(?:[eE][+-]?\d+)?)"
_FORMS = (
    re.compile(rf"x(?:([*/]){_NUMBER})?(?:([+-]){_NUMBER})?"),
    re.compile(rf"\(x([+-]){_NUMBER}\)([*/]){_NUMBER}"),
)
_STEPS: dict[str, Callable[[np.ndarray, np.float32], np.ndarray]] = {
    "*": np.multiply,
    "/": np.divide,
    "+": np.add,
    "-": np.subtract,
}


@dataclass(frozen=True)
class Preprocessing:
    """From an image of 8 bits a channel to float32: geometry, then ``(scale(x) - mean) / std``.

    Args:
        scale: what is done to a byte ``x`` in 0..255, in float32: ``x``, ``x/255``,
            ``x/127.5-1`` or ``(x-127)/128``.
        mean, std: after ``scale``, one number or one a channel, in the order of ``channels``.
        resize: length of the short side; the other keeps the ratio, rounded down.
        crop: height and width of the part in the middle, or one number for both; an odd rest is
            rounded as ``torchvision.transforms.CenterCrop`` does, half to even.
        size: height and width to resize to, whatever the ratio; instead of ``resize``.
        interpolation: of ``resize`` and ``size``, as Pillow does it.
        channels: order in which the model takes them.
        layout: of the model's input.

    Raises:
        InputError: a value that has no meaning.
    """

    scale: str
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    resize: int | None = None
    crop: int | tuple[int, int] | None = None
    size: int | tuple[int, int] | None = None
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"] = "bilinear"
    channels: Literal["rgb", "bgr", "gray"] = "rgb"
    layout: Literal["nchw", "nhwc"] = "nchw"

    __pydantic_config__: ClassVar[Any] = {"extra": "forbid", "strict": True}

    def __post_init__(self) -> None:
        _parse(self.scale)
        count = CHANNELS[self.channels]
        for name in ("mean", "std"):
            values = getattr(self, name)
            fits = len(values) in (0, 1, count) and all(map(math.isfinite, values))
            if not fits or (name == "std" and any(v <= 0 for v in values)):
                allowed = f"1 or {count} finite numbers{', above 0' if name == 'std' else ''}"
                raise _fault(name, "one number, or one a channel", list(values), allowed)
        for name in ("resize", "crop", "size"):
            if min(_pair(getattr(self, name)) or (1,)) < 1:
                raise _fault(name, "a length in pixels", getattr(self, name), ">= 1")
        if self.size and self.resize:
            raise _fault("size", "an image is resized once", "size and resize", "one of them")

    @property
    def steps(self) -> list[tuple[str, float]]:
        """What ``scale`` does to a byte, in order: ``x/127.5-1`` is ``/ 127.5``, then ``- 1``."""
        return _parse(self.scale)

    @property
    def crop_size(self) -> tuple[int, int] | None:
        """Height and width."""
        return _pair(self.crop)

    @property
    def exact_size(self) -> tuple[int, int] | None:
        """Height and width."""
        return _pair(self.size)

    def row_shape(self, height: int, width: int) -> tuple[int, int, int]:
        """Shape of one finished image."""
        count = CHANNELS[self.channels]
        return (count, height, width) if self.layout == "nchw" else (height, width, count)

    def normalise(self, images: np.ndarray) -> np.ndarray:
        """uint8 (n, h, w, c), RGB or gray, to float32 in the model's layout."""
        x: np.ndarray = images.astype(np.float32)
        for step, value in self.steps:
            x = _STEPS[step](x, np.float32(value))
        if self.channels == "bgr":
            x = x[..., ::-1]
        if self.mean:
            x = x - np.array(self.mean, np.float32)
        if self.std:
            x = x / np.array(self.std, np.float32)
        return np.ascontiguousarray(x.transpose(0, 3, 1, 2) if self.layout == "nchw" else x)

    def facts(self) -> dict[str, Any]:
        """Plain data for the manifest; what was not stated is left out."""
        stated = {key: item for key, item in asdict(self).items() if item not in (None, ())}
        return {k: list(v) if isinstance(v, tuple) else v for k, v in stated.items()}


def _parse(scale: str) -> list[tuple[str, float]]:
    """The steps of a scale, in order: ``x/127.5-1`` is ``/ 127.5``, then ``- 1``."""
    matches = (form.fullmatch(scale.replace(" ", "")) for form in _FORMS)
    match = next((m for m in matches if m is not None), None)
    groups = match.groups() if match else ()
    steps = [(s, float(v)) for s, v in zip(groups[::2], groups[1::2], strict=True) if s]
    if match is None or any(s in "*/" and v == 0 for s, v in steps):
        allowed = "x, x/255, x/127.5-1, (x-127)/128 and the like"
        raise _fault("scale", "what is done to a byte x", repr(scale), allowed)
    return steps


def _pair(value: int | tuple[int, int] | None) -> tuple[int, int] | None:
    return (value, value) if isinstance(value, int) else value


def _fault(key: str, rule: str, found: object, allowed: str) -> InputError:
    return InputError(
        f"preprocessing.{key}",
        rule,
        found=str(found),
        allowed=allowed,
        next_step=f"correct {key} where it is stated: in deployq.toml, by a flag or in Python",
    )
