"""Profiles drafted from files that a target is known to take."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import onnx

from deployq.bundle import CANONICAL_FILE
from deployq.errors import InputError
from deployq.opened_file import open_file
from deployq.whole_file import check_writable, write_whole
from deployq_targets.checks import CheckedFile
from deployq_targets.inference import Draft, draft_profile, draft_text
from deployq_targets.inference.fact import NamedFile

WHAT = "profile"


def infer_target(sources: Sequence[Path | str | onnx.ModelProto], name: str | None = None) -> Draft:
    """Draft a target profile from files that the target is known to take.

    What the files show is stated as narrowly as they show it, with the tensor or node that does;
    what they cannot show, as the accumulator and the requantization, is left as questions.

    Args:
        sources: QDQ or QOperator files of any tool, bundles (their canonical files), or models in
            memory.
        name: of the profile; None takes that of the first file.

    Raises:
        InputError: no file, one that cannot be read, or one without integer tensors.
        UnsafeFileError: external data outside a file's folder.
        UnsupportedError: a node cannot be read, or no one profile takes all of the files.
    """
    files = [_named(source, len(sources) == 1) for source in sources]
    return draft_profile(files, name or (Path(files[0].name).stem if files else ""))


def check_draft_path(path: Path, force: bool) -> None:
    """Refuse a path that a draft cannot be written to, before it is made.

    Raises:
        InputError: another suffix, a file that is there (unless ``force``), no such folder.
    """
    found = ""
    if path.suffix != ".toml":
        found = path.suffix or "no suffix"
    elif path.is_file() and not force:
        found = "a file, perhaps with answers in it"
    if found:
        raise InputError(
            str(path),
            "a draft is a new .toml file",
            found=found,
            allowed="a .toml path where no file is",
            next_step="name another path, or replace the file with --force",
        )
    check_writable(path, WHAT)


def write_draft(draft: Draft, path: Path) -> None:
    """Write a draft as TOML, whole or not at all.

    Raises:
        InputError: the file system refuses.
    """
    write_whole(path, draft_text(draft), WHAT)


def _named(source: Path | str | onnx.ModelProto, alone: bool) -> NamedFile:
    if isinstance(source, onnx.ModelProto):
        name, model = source.graph.name or "model", source
        content = source.SerializeToString(deterministic=True)
    else:
        path = Path(source)
        name, model = path.resolve().name, open_file(path).model
        content = (path / CANONICAL_FILE if path.is_dir() else path).read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    return NamedFile(
        name, f"{name}, sha256 {digest}", CheckedFile.of(model, joins_sums=True), alone
    )
