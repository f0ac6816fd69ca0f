"""Read ``.npz`` files of real numbers; nothing is unpickled."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from pathlib import Path
from tokenize import TokenError
from types import MappingProxyType

import numpy as np
from numpy.lib import format as npy

from deployq.errors import InputError, UnsafeFileError
from deployq.safe_zip import SafeZip, open_zip

MAX_BYTES = 8 << 30
_NEXT = "write it with numpy.savez(path, name=array, ...) from plain numeric arrays"
_KINDS = "biuf"  # NumPy kinds: bool, signed, unsigned, floating


def load_arrays(
    path: Path, *, max_bytes: int = MAX_BYTES, skip_text: bool = False
) -> Mapping[str, np.ndarray]:
    """The arrays of an ``.npz``, read-only, by name.

    Args:
        path: as ``numpy.savez`` or ``savez_compressed`` writes it.
        max_bytes: limit of the unpacked size, all arrays together; 8 GiB by default.
        skip_text: leave arrays of text out, such as the names of the classes.

    Raises:
        InputError: not an ``.npz``, damaged, over the limit, an array that is not bool,
            integer or floating, or holds NaN or infinity.
        UnsafeFileError: an array of Python objects (a pickle), a member that is no array, or
            an unsafe member name.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(
            str(path),
            "cannot read the file",
            found="a folder" if path.is_dir() else "No such file",
            next_step=_NEXT,
        )
    with open_zip(path, max_bytes=max_bytes, next_step=_NEXT) as archive:
        arrays = {}
        for member in archive.members:
            name = _array_name(archive.path, member)
            array = _read_array(archive, member, skip_text)
            if array is None:
                continue
            check_finite(f"{archive.path}: {name}", array)
            arrays[name] = array
    return MappingProxyType(arrays)


def _array_name(path: Path, member: str) -> str:
    if not member.endswith(".npy") or member == ".npy":
        raise UnsafeFileError(
            str(path),
            "an .npz holds .npy members only",
            found=repr(member),
            allowed="<name>.npy",
            next_step=_NEXT,
        )
    return member.removesuffix(".npy")


def _read_array(archive: SafeZip, member: str, skip_text: bool) -> np.ndarray | None:
    where = f"{archive.path}: {member}"
    data = archive.read(member)
    stream = io.BytesIO(data)
    shape, fortran, dtype = _read_header(where, stream)
    if skip_text and dtype.kind == "U":
        return None
    _check_dtype(where, dtype)
    size = math.prod(shape) * dtype.itemsize
    # Before NumPy allocates: a header of a few bytes may declare any shape.
    if min(shape, default=0) < 0 or size != len(data) - stream.tell():
        raise InputError(
            where,
            "the array's shape does not fit its data",
            found=f"shape {shape} of {dtype}, {len(data) - stream.tell()} bytes",
            next_step=_NEXT,
        )
    array = np.frombuffer(data, dtype, offset=stream.tell())
    return array.reshape(shape, order="F" if fortran else "C")


def _read_header(where: str, stream: io.BytesIO) -> tuple[tuple[int, ...], bool, np.dtype]:
    try:
        version = npy.read_magic(stream)
        if version == (1, 0):
            return npy.read_array_header_1_0(stream)
        if version == (2, 0):
            return npy.read_array_header_2_0(stream)
        found = f"version {version}"  # 3.0 is for structured arrays
    except (ValueError, TypeError, SyntaxError, TokenError, RecursionError, MemoryError) as error:
        # NumPy parses the header as a Python literal, and damaged ones raise any of these.
        found = str(error).partition("\n")[0]
    raise InputError(
        where,
        "the member is not a plain .npy array",
        found=found,
        allowed=".npy versions 1.0 and 2.0",
        next_step=_NEXT,
    )


def _check_dtype(where: str, dtype: np.dtype) -> None:
    if dtype.hasobject:
        raise UnsafeFileError(
            where,
            "an array of Python objects is a pickle and can run code",
            found=str(dtype),
            allowed="bool, integer and floating arrays",
            next_step=_NEXT,
        )
    if dtype.kind not in _KINDS:
        raise InputError(
            where,
            "an array holds real numbers",
            found=str(dtype),
            allowed="bool, integer and floating arrays",
            next_step=_NEXT,
        )


def check_finite(where: str, array: np.ndarray) -> None:
    """Check that a floating array has no NaN and no infinity.

    Raises:
        InputError: with the first such value and its index.
    """
    if array.dtype.kind != "f":
        return
    finite = np.isfinite(array)
    if finite.all():
        return
    index = np.unravel_index(int(np.argmin(finite)), array.shape)
    raise InputError(
        where,
        "an array holds finite numbers",
        found=f"{array[index]} at index {tuple(int(i) for i in index)}",
        allowed="no NaN, no infinity",
        next_step="mend the data and save it again",
    )
