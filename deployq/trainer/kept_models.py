"""The prepared models that a run leaves, each a folder that is replaced whole."""

from __future__ import annotations

from pathlib import Path

from deployq.errors import InputError
from deployq.graph.preparation import PreparedModel
from deployq.graph.prepared_files import GRAPH_FILE, save_prepared_model
from deployq.staging import replacing_folder

BEST, LAST = "prepared", "last"
"""Folders of the best epoch's model, and of the last one's."""


def keep_model(prepared: PreparedModel, folder: Path) -> None:
    """Write a prepared model in place of an older one.

    Raises:
        InputError: something else lies there, or the file system refuses.
    """
    with replacing_folder(folder, check_prepared_folder, "prepared model") as staging:
        save_prepared_model(prepared, staging)


def check_prepared_folder(folder: Path) -> None:
    """Refuse to replace something else than a prepared model.

    Raises:
        InputError: a file, or a folder without a prepared model.
    """
    if folder.exists() and not (folder / GRAPH_FILE).is_file():
        raise InputError(
            str(folder),
            "a prepared model takes the place of an older one and of nothing else",
            found="a file" if folder.is_file() else "a folder of something else",
            next_step="move it away, or choose another output folder",
        )
