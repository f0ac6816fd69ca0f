"""The folder that a run is written into."""

from __future__ import annotations

from pathlib import Path

from deployq.errors import InputError
from deployq.graph.prepared_files import GRAPH_FILE
from deployq.trainer.checkpoints import FOLDER
from deployq.trainer.kept_models import BEST


def check_fresh(output: Path) -> None:
    """Refuse a folder with a run in it.

    Raises:
        InputError: with the way to go on with it; also of what is no folder.
    """
    if _exists(output) and not output.is_dir():
        raise _no_folder(output, "a file")
    for name in (FOLDER, f"{BEST}/{GRAPH_FILE}"):
        if _exists(output / name):
            raise InputError(
                str(output),
                "a run begins in a folder without one",
                found=name,
                next_step="--resume goes on with it; else choose another folder",
            )


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError as error:
        raise _no_folder(path, error.strerror or str(error)) from error


def make_folder(output: Path) -> None:
    """Make the folder of a run, and those that it lies in.

    Raises:
        InputError: the file system refuses.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _no_folder(output, error.strerror or str(error)) from error


def _no_folder(output: Path, found: str) -> InputError:
    return InputError(
        str(output),
        "a run is written into a folder",
        found=found,
        allowed="a folder that exists or can be made, and that this user may write",
        next_step="name another folder with --output",
    )
