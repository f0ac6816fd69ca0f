"""Which images there are and of which class: by a labels file, by folder, or not stated."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from deployq.errors import InputError
from deployq.sources.image_files import ImageFiles
from deployq.sources.images import SUFFIXES

LABELS_FILE = "labels.csv"
COLUMNS = ("file", "label")


def labelled_images(
    files: ImageFiles, labels_file: Path | None
) -> tuple[list[str], list[int] | None]:
    """Names of the images, in order, and their class numbers.

    A labels file decides, in its order: ``labels_file``, else :data:`LABELS_FILE` at the root, and
    images that it does not name are left out. Without one, sorted class folders are the classes
    0, 1, ...; images of one folder have no labels.

    Raises:
        InputError: no images, folders of different depth, or a labels file that does not fit.
    """
    if labels_file is not None:
        return _from_csv(files, str(labels_file), _read_text(labels_file))
    if LABELS_FILE in files.names:
        where = f"{files.where}: {LABELS_FILE}"
        return _from_csv(files, where, _decoded(where, files.read(LABELS_FILE)))
    images = [name for name in files.names if name.lower().endswith(SUFFIXES)]
    if not images:
        raise InputError(
            files.where,
            "there are images",
            found=f"{len(files.names)} files, none of them an image",
            allowed=", ".join(SUFFIXES),
            next_step="name the folder that holds the images or their class folders",
        )
    folders = [name.rpartition("/")[0] for name in images]
    classes = sorted(set(folders))
    if len(classes) == 1:
        return images, None
    if len({(folder.count("/"), folder == "") for folder in classes}) > 1:
        raise InputError(
            files.where,
            "images lie in one folder a class, or all in one folder",
            found=f"images in {', '.join(f or 'the root' for f in classes[:4])}",
            allowed=f"class folders side by side, or a {LABELS_FILE} with {','.join(COLUMNS)}",
            next_step="move them, or list them in a labels file",
        )
    return images, [classes.index(folder) for folder in folders]


def _from_csv(files: ImageFiles, where: str, text: str) -> tuple[list[str], list[int]]:
    reader = csv.DictReader(io.StringIO(text, newline=""))
    if not set(COLUMNS) <= set(reader.fieldnames or ()):
        raise _fault(where, f"columns {', '.join(reader.fieldnames or ()) or 'none'}")
    known, images, labels = set(files.names), list[str](), list[int]()
    for row in reader:
        line = f"{where}, line {reader.line_num}"
        name, label = row["file"], row["label"]
        if name not in known:
            raise _fault(line, f"{name!r}, which is not in {files.where}")
        if not (label and label.strip().isdecimal() and len(label) < 10):
            raise _fault(line, f"label {label!r} of {name}")
        images.append(name)
        labels.append(int(label))
    if len(set(images)) < len(images):
        raise _fault(where, "an image that is named twice")
    if not images:
        raise _fault(where, "no rows")
    return images, labels


def _fault(where: str, found: str) -> InputError:
    return InputError(
        where,
        "a labels file names each image once, with its class number",
        found=found,
        allowed=f"CSV with the columns {','.join(COLUMNS)}: a path below the root, a number from 0",
        next_step="correct the labels file",
    )


def _read_text(path: Path) -> str:
    try:
        return _decoded(str(path), path.read_bytes())
    except OSError as error:
        raise InputError(
            str(path),
            "cannot read the labels file",
            found=error.strerror or str(error),
            next_step="check the path",
        ) from error


def _decoded(where: str, data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _fault(where, "bytes that are not UTF-8") from error
