"""Open a ``.pt2`` (torch.export.save) without running code that it carries.

As torch 2.13 loads an archive, all of this can run code: sample inputs, constants and weights
marked ``use_pickle`` (unpickled), AOTInductor libraries (loaded), strings of the program (see
``pt2_program``). The guard reads the archive itself, keeps only raw tensors and a checked
program, and gives torch a new archive in memory whose sample inputs are empty. Nothing is
unpickled; ``ep.example_inputs`` is None.
"""

from __future__ import annotations

import io
import json
import re
import sys
import zipfile
from pathlib import Path

from torch.export import ExportedProgram

from deployq.errors import InputError, UnsafeFileError
from deployq.graph.pt2_program import NEXT, clean_json, parse_json
from deployq.safe_zip import SafeZip, open_zip

MAX_BYTES = 8 << 30

_PROGRAM = "models/model.json"
_SAMPLES = "data/sample_inputs/model.pt"
_PAYLOADS = {  # configuration: the folder and names of its raw tensors
    "data/weights/model_weights_config.json": ("data/weights/", re.compile(r"weight_\d+")),
    "data/constants/model_constants_config.json": ("data/constants/", re.compile(r"tensor_\d+")),
}
_FIXED = {"archive_format": b"pt2", "archive_version": b"0", "byteorder": sys.byteorder.encode()}
_REQUIRED = ("archive_format", "archive_version", ".data/version", _PROGRAM, *_PAYLOADS)
_MEMBER = re.compile(
    r"archive_format|archive_version|byteorder|\.data/(version|serialization_id)"
    r"|models/model\.json|data/sample_inputs/model\.pt"
    r"|data/weights/(weight_\d+|model_weights_config\.json)"
    r"|data/constants/(tensor_\d+|model_constants_config\.json)",
    re.ASCII,
)


def open_pt2(path: Path, *, max_bytes: int = MAX_BYTES) -> ExportedProgram:
    """Load an exported program after checking the whole archive.

    Dropped on the way: sample inputs, guards, and metadata other than module stacks, so the
    program does not check the shapes of its inputs. Takes about twice the file in memory.

    Args:
        path: the archive, with one program named ``model``.
        max_bytes: limit of the archive's members together; 8 GiB by default.

    Raises:
        InputError: missing, no archive of this torch's torch.export.save, damaged, over the
            limit, or torch refuses it.
        UnsafeFileError: a member that torch.export.save does not write for a plain program
            (libraries, sources, custom objects, extra files), a compressed or overlapping
            member, pickled tensors, an operator outside aten, or a string that could become
            code.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(
            str(path),
            "cannot read the file",
            found="a folder" if path.is_dir() else "No such file",
            next_step=NEXT,
        )
    with open_zip(path, max_bytes=max_bytes, next_step=NEXT) as archive:
        names = _member_names(archive)
        _check_storage(archive)
        rebuilt = _rebuild(archive, names)
    return _load(path, rebuilt)


def _member_names(archive: SafeZip) -> dict[str, str]:
    """Names without the archive's root folder, to names in the archive."""
    roots = {name.partition("/")[0] for name in archive.members}
    names = {name.partition("/")[2]: name for name in archive.members}
    for name, member in names.items():
        if not _MEMBER.fullmatch(name) or len(roots) > 1:
            raise UnsafeFileError(
                str(archive.path),
                "a .pt2 holds a plain program and raw tensors",
                found=member,
                allowed="the members that torch.export.save(ep, path) writes",
                next_step=NEXT,
            )
    missing = [name for name in _REQUIRED if name not in names]
    if missing:
        raise InputError(
            str(archive.path),
            "the file is not an archive of torch.export.save",
            found=f"no {missing[0]}",
            next_step=NEXT,
        )
    return names


def _check_storage(archive: SafeZip) -> None:
    """torch stores members as they are, so together they are smaller than the file."""
    total = 0
    for name, info in archive.members.items():
        total += info.file_size
        if info.compress_type != zipfile.ZIP_STORED or total > archive.path.stat().st_size:
            raise UnsafeFileError(
                f"{archive.path}: {name}",
                "members are stored one after the other, uncompressed",
                found="a compressed or overlapping member",
                next_step=NEXT,
            )


def _rebuild(archive: SafeZip, names: dict[str, str]) -> io.BytesIO:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as rebuilt:
        for name, member in names.items():
            data = b"" if name == _SAMPLES else archive.read(member)
            if name in _FIXED and data != _FIXED[name]:
                raise InputError(
                    f"{archive.path}: {name}",
                    "an archive of another format",
                    found=repr(data[:40]),
                    allowed=repr(_FIXED[name]),
                    next_step=NEXT,
                )
            if name == _PROGRAM or name in _PAYLOADS:
                data = _checked_json(archive, names, name, data)
            rebuilt.writestr(f"model/{name}", data)
        if _SAMPLES not in names:
            rebuilt.writestr(f"model/{_SAMPLES}", b"")
    buffer.seek(0)
    return buffer


def _checked_json(archive: SafeZip, names: dict[str, str], name: str, data: bytes) -> bytes:
    where = f"{archive.path}: {name}"
    try:
        cleaned = clean_json(where, parse_json(where, data))
    except RecursionError as error:
        raise InputError(where, "the member is nested too deep", next_step=NEXT) from error
    if name in _PAYLOADS:
        _check_payloads(where, cleaned, archive, names, name)
    return json.dumps(cleaned).encode()


def _check_payloads(
    where: str, config: object, archive: SafeZip, names: dict[str, str], name: str
) -> None:
    folder, pattern = _PAYLOADS[name]
    entries = config.get("config") if isinstance(config, dict) else None
    if not isinstance(entries, dict):
        raise InputError(where, "not a payload configuration", next_step=NEXT)
    for tensor, entry in entries.items():
        facts = entry if isinstance(entry, dict) else {}
        file = str(facts.get("path_name"))
        if facts.get("use_pickle") is not False or not pattern.fullmatch(file):
            raise UnsafeFileError(
                f"{where}: {tensor}",
                "tensors are stored raw, not pickled",
                found=f"{file}, use_pickle {facts.get('use_pickle')}",
                allowed="plain tensors, no tensor subclasses or custom objects",
                next_step=NEXT,
            )
        if folder + file not in names:
            raise InputError(
                f"{where}: {tensor}", "the tensor's data is missing", found=file, next_step=NEXT
            )
        empty = archive.members[names[folder + file]].file_size == 0
        if empty and {"as_int": 0} not in facts.get("tensor_meta", {}).get("sizes", ()):
            # torch would allocate zeros of any declared shape.
            raise InputError(
                f"{where}: {tensor}",
                "the tensor's data is empty",
                found=file,
                next_step="save a program with real weights, not fake tensors",
            )


def _load(path: Path, archive: io.BytesIO) -> ExportedProgram:
    # Here, because it imports the compiler stack. torch.export.load would swallow the reason
    # of a failure and try a format of pickles.
    from torch.export.pt2_archive._package import load_pt2

    try:
        return load_pt2(archive).exported_programs["model"]
    except Exception as error:  # torch raises many types here, bare AssertionError among them
        raise InputError(
            str(path),
            "torch cannot load the program",
            found=": ".join([type(error).__name__, *str(error).strip().splitlines()[-1:]]),
            allowed="a program that this version of torch saved for the CPU",
            next_step=NEXT,
        ) from error
