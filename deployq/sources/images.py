"""Decode an image and bring it to size: Pillow reads and resizes, uint8 comes out."""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from deployq.errors import InputError
from deployq.sources.preprocessing import Preprocessing

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
FORMATS = ("BMP", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""Plain pixels. Pillow would hand other formats to programs outside it."""


def decode(where: str, data: bytes, preprocessing: Preprocessing) -> np.ndarray:
    """The pixels of an image file, uint8 (height, width, channels), brought to size.

    As torchvision's ImageFolder reads them: no rotation by EXIF.

    Raises:
        InputError: no image, damaged, not of 8 bits a channel, smaller than the crop, or no Pillow.
    """
    pillow = _pillow()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pillow.DecompressionBombWarning)
            with pillow.open(io.BytesIO(data), formats=FORMATS) as image:
                if image.mode.startswith(("I", "F")):
                    raise _unreadable(where, f"mode {image.mode}, more than 8 bits a channel")
                pixels = image.convert("L" if preprocessing.channels == "gray" else "RGB")
    except (
        OSError,
        ValueError,
        SyntaxError,
        EOFError,
        Warning,
        pillow.DecompressionBombError,
    ) as e:
        raise _unreadable(where, f"{type(e).__name__}: {e}"[:200]) from e
    return _crop(where, _resize(pixels, preprocessing), preprocessing)


def bring_to_size(where: str, pixels: np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
    """As :func:`decode`, of pixels that an array holds: uint8 (height, width, channels)."""
    if preprocessing.resize is None and preprocessing.size is None:
        return _crop(where, pixels, preprocessing)
    gray = pixels.shape[-1] == 1
    image = _pillow().fromarray(pixels[..., 0] if gray else pixels)
    return _crop(where, _resize(image, preprocessing), preprocessing)


def _resize(image: Image, preprocessing: Preprocessing) -> np.ndarray:
    """Pixels (height, width, channels); a short side is followed as torchvision's Resize does."""
    size = preprocessing.exact_size
    if preprocessing.resize is not None:
        short, long = preprocessing.resize, max(image.size)
        other = int(short * long / min(image.size))
        size = (other, short) if image.height > image.width else (short, other)
    if size is not None and size != (image.height, image.width):
        how = getattr(_pillow().Resampling, preprocessing.interpolation.upper())
        image = image.resize(size[::-1], how)
    pixels = np.asarray(image)
    return pixels[..., None] if pixels.ndim == 2 else pixels


def _crop(where: str, pixels: np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
    if preprocessing.crop_size is None:
        return pixels
    height, width = preprocessing.crop_size
    if pixels.shape[0] < height or pixels.shape[1] < width:
        raise InputError(
            where,
            "an image is at least as large as the crop",
            found=f"{pixels.shape[0]}x{pixels.shape[1]}",
            allowed=f"{height}x{width} or more",
            next_step="state resize, or a smaller crop",
        )
    top, left = round((pixels.shape[0] - height) / 2), round((pixels.shape[1] - width) / 2)
    return pixels[top : top + height, left : left + width]


def _unreadable(where: str, found: str) -> InputError:
    return InputError(
        where,
        "the image cannot be read",
        found=found,
        allowed=f"8 bits a channel: {', '.join(FORMATS)}",
        next_step="copy the file again, convert it, or take it out",
    )


def _pillow() -> Any:
    """The module; it is imported only where images are."""
    try:
        from PIL import Image
    except ImportError as error:
        raise InputError(
            "images",
            "images are read with Pillow",
            found="it is not installed",
            next_step="pip install deployq[images], or save the images as arrays in an .npz",
        ) from error
    return Image
