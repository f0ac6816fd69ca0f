"""What ``deployq landscape`` is given: models by name, and data as they take it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deployq.bundle import MANIFEST
from deployq.data import Dataset
from deployq.errors import InputError
from deployq.graph.preparation import PreparedModel
from deployq.graph.prepared_files import GRAPH_FILE
from deployq.jobs import exported_preprocessing
from deployq.models import fit_samples
from deployq.pipeline import load_prepared
from deployq.sources import DataRequest, Preprocessing, open_samples


@dataclass(frozen=True)
class Opened:
    """Data of one run.

    Args:
        data: with labels, for losses.
        norm_data: for BatchNorm statistics, None where ``data`` serves.
    """

    data: Dataset
    norm_data: Dataset | None


def open_models(references: Sequence[Path]) -> dict[str, PreparedModel]:
    """Prepared models by names that tell them apart.

    Raises:
        InputError: a folder without a prepared model, or one that is named twice.
    """
    for path in references:
        if not (path / GRAPH_FILE).is_file():
            raise InputError(
                str(path),
                "a loss surface is that of prepared models",
                found=f"no {GRAPH_FILE} in it" if path.is_dir() else "no such folder",
                allowed="a folder that deployq.save_prepared or an export wrote",
                next_step="name the folder of a prepared model, or a bundle",
            )
    names = distinct_names(references)
    return {name: load_prepared(path) for name, path in zip(names, references, strict=True)}


def distinct_names(paths: Sequence[Path]) -> list[str]:
    """The fewest last parts of paths that are all different: ``a/net``, ``b/net``.

    Raises:
        InputError: two paths are one.
    """
    parts = [path.resolve().parts for path in paths]
    if len(set(parts)) < len(parts):
        twice = next(path for path, own in zip(paths, parts, strict=True) if parts.count(own) > 1)
        raise InputError(
            str(twice),
            "each model is named once",
            found="the same folder twice",
            next_step="leave one out",
        )
    tails = (["/".join(own[-n:]) for own in parts] for n in range(1, max(map(len, parts)) + 1))
    return next(names for names in tails if len(set(names)) == len(names))


def model_preprocessing(model: Path) -> Preprocessing | None:
    """Of images, as the bundle states it; None for a bare prepared model."""
    return exported_preprocessing(model) if (model / MANIFEST).is_file() else None


def open_data(
    prepared: PreparedModel,
    data: str,
    norm_data: str | None,
    images: Preprocessing | None,
    labels: Path | None,
) -> Opened:
    """Data in the shapes that a model takes.

    Args:
        images: preprocessing of both.
        labels: a labels file of ``data``.

    Raises:
        InputError, UnsafeFileError: data that cannot be read or that the model does not take.
    """
    found = fit_samples(open_samples(DataRequest(data, images, labels)), prepared)
    if norm_data is None:
        return Opened(found, None)
    return Opened(found, fit_samples(open_samples(DataRequest(norm_data, images)), prepared))
