"""What ``deployq landscape`` is given: models by name, data as they take it, and paths."""

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
from deployq.landscape.drawing import check_picture_path
from deployq.landscape.picture import check_matplotlib
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


@dataclass(frozen=True)
class Pictures:
    """Where pictures go; None of what is not drawn.

    Args:
        plane: the picture of a plane.
        sharpness: the picture of curves.
    """

    plane: Path | None
    sharpness: Path | None

    @classmethod
    def wished(cls, output: Path | None, *, plane: bool, sharpness: bool) -> Pictures:
        """The path is the plane's where there is one: ``a.png`` has ``a.sharpness.png`` beside it.

        Args:
            output: as the user named it.
            plane: the models span one.
            sharpness: it was asked for.
        """
        if output is None:
            return cls(None, None)
        beside = output.with_name(f"{output.stem}.sharpness{output.suffix}") if plane else output
        return cls(output if plane else None, beside if sharpness else None)

    def check(self) -> None:
        """Refuse paths that take no picture, before anything is measured.

        Raises:
            InputError: such a path, or no matplotlib.
        """
        paths = [path for path in (self.plane, self.sharpness) if path is not None]
        for path in paths:
            check_picture_path(path)
        if paths:
            check_matplotlib()


def open_models(references: Sequence[Path]) -> dict[str, PreparedModel]:
    """Prepared models by names that tell them apart.

    Raises:
        InputError: a folder without a prepared model, or one that is named twice.
    """
    for path in references:
        if not (path / GRAPH_FILE).is_file():
            raise InputError(
                str(path),
                "a prepared model is a folder",
                found=_instead_of_a_model(path),
                allowed="a folder that deployq.save_prepared or an export wrote",
                next_step="name such a folder; deployq export makes one of a float model",
            )
    names = distinct_names(references)
    return {name: load_prepared(path) for name, path in zip(names, references, strict=True)}


def _instead_of_a_model(path: Path) -> str:
    if path.is_dir():
        return f"no {GRAPH_FILE} in it"
    return "a file" if path.exists() else "no such folder"


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
