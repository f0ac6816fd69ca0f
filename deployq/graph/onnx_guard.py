"""Open an ONNX file without reading anything outside its folder.

The stored weights of a model may lie in other files (external data), named by the model. The
names are checked before any of these files is opened. Operators, domains and local functions
are not judged here.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import onnx
from google.protobuf.message import (  # type: ignore[import-untyped]  # protobuf ships no types
    DecodeError,
    Message,
)
from onnx import TensorProto
from onnx.external_data_helper import load_external_data_for_tensor

from deployq.errors import InputError, UnsafeFileError
from deployq.qgraph.order import check_order
from deployq.qgraph.values import located

_NEXT = "save the model again with onnx.save(model, path), in a folder of its own"


def load_onnx(path: Path) -> onnx.ModelProto:
    """Parse, check and complete an ONNX model; its external data is in memory afterwards.

    Raises:
        InputError: missing, no ONNX protobuf (binary, at most 2 GiB), names or order that
            contradict each other, refused by onnx.checker, or external data that is missing or
            shorter than the model says.
        UnsafeFileError: external data at an absolute path, through '..' or a link.
    """
    path = Path(path)
    model = _parse(path)
    external = [t for t in _tensors(model) if t.data_location == TensorProto.EXTERNAL]
    for tensor in external:
        _check_external(path, tensor)
    try:
        check_order(model.graph)
    except InputError as error:
        raise located(error, str(path)) from error
    _check_model(path)
    for tensor in external:
        _load(path, tensor)
    return model


def _parse(path: Path) -> onnx.ModelProto:
    try:
        return onnx.load_model_from_string(path.read_bytes())
    except OSError as error:
        raise InputError(
            str(path),
            "cannot read the model",
            found=str(error.strerror),
            next_step="check the path",
        ) from error
    except DecodeError as error:
        raise InputError(
            str(path),
            "the file is not an ONNX model",
            found=f"protobuf: {error}",
            allowed="a binary ONNX protobuf of at most 2 GiB",
            next_step=_NEXT,
        ) from error


def _tensors(message: Message) -> Iterator[TensorProto]:
    """Every tensor: initializers, sparse, attributes, subgraphs, functions, training graphs."""
    if isinstance(message, TensorProto):
        yield message
        return
    for field, value in message.ListFields():
        if field.message_type is not None:
            for item in [value] if isinstance(value, Message) else value:
                yield from _tensors(item)


def _check_external(path: Path, tensor: TensorProto) -> None:
    where = f"{path}: tensor {tensor.name!r}"
    facts = {entry.key: entry.value for entry in tensor.external_data}
    location = facts.get("location", "")
    _check_location(where, path.absolute().parent, location)
    file = path.parent / location
    if not file.is_file():
        raise InputError(
            where,
            "the external data file is missing",
            found=repr(location),
            next_step="copy the data file beside the model",
        )
    size = file.stat().st_size
    offset, length = (_number(where, key, facts.get(key, "0")) for key in ("offset", "length"))
    if offset + length > size:
        raise InputError(
            where,
            "external data lies within its file",
            found=f"offset {offset}, length {length}",
            allowed=f"{size} bytes in {location}",
            next_step="copy the whole data file, or " + _NEXT,
        )


def _check_location(where: str, folder: Path, location: str) -> None:
    parts = PurePosixPath(location).parts
    found = ""
    if not parts or not location.isprintable():
        found = f"{location!r}"
    elif location.startswith("/") or "\\" in location or parts[0][1:2] == ":":
        found = f"{location!r}, an absolute or Windows path"
    elif ".." in parts:
        found = f"{location!r}, which leaves the folder"
    else:
        links = [
            p for i in range(len(parts)) if (p := folder.joinpath(*parts[: i + 1])).is_symlink()
        ]
        if links:
            found = f"{location!r}, through a symbolic link"
    if found:
        raise UnsafeFileError(
            where,
            "external data lies in the model's own folder",
            found=found,
            allowed="a relative posix path without '..' and links",
            next_step=_NEXT,
        )


def _number(where: str, key: str, text: str) -> int:
    # At most 19 digits: a file size fits, and int() of a huge text stays cheap.
    if not (text.isascii() and text.isdigit() and len(text) <= 19):
        raise InputError(
            where,
            f"the {key} of external data is a number of bytes",
            found=repr(text[:40]),
            allowed=">= 0",
            next_step=_NEXT,
        )
    return int(text)


def _check_model(path: Path) -> None:
    try:
        # By path: as an object, a model with external data is looked up in the current folder.
        onnx.checker.check_model(os.fspath(path))
    except (onnx.checker.ValidationError, ValueError, RuntimeError) as error:
        raise InputError(
            str(path),
            "onnx.checker refuses the model",
            found=_first_line(error),
            next_step="mend the model in the tool that wrote it",
        ) from error


def _load(path: Path, tensor: TensorProto) -> None:
    try:
        load_external_data_for_tensor(tensor, os.fspath(path.absolute().parent))
    except (onnx.checker.ValidationError, ValueError, OSError) as error:
        raise InputError(
            f"{path}: tensor {tensor.name!r}",
            "the external data cannot be read",
            found=_first_line(error),
            next_step=_NEXT,
        ) from error


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
