"""``deployq.toml``: what a command would otherwise be told by flags; flags win."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from deployq.closed_tables import (
    from_folder,
    parse_table,
    read_table,
    target_from_folder,
    unknown_key,
)
from deployq.errors import InputError
from deployq.graph.prepared_files import GRAPH_FILE
from deployq.graph.recipe import LayerRecipe, Recipe
from deployq.sources import Preprocessing
from deployq.user_code import names_code
from deployq_calibration.calibration_settings import CalibrationSettings
from deployq_targets.words import Edges

FILE = "deployq.toml"
_CLOSED = ConfigDict(extra="forbid", frozen=True, strict=True)
_OF_PREPARATION = (
    "weight_bits", "activation_bits", "first_bits", "last_bits", "observer", "weight_observer",
    "corrections", "iterations",
)  # fmt: skip
T = TypeVar("T")


class LayerSettings(BaseModel):
    """What the layers that a pattern names become; see :class:`LayerRecipe`."""

    model_config = _CLOSED
    weight_bits: int | None = None
    activation_bits: int | None = None
    keep_float: bool | None = None
    per_channel: bool | None = None


class Settings(BaseModel):
    """The keys of :data:`FILE`; paths in it are relative to its folder.

    Args:
        path: the file that they come from, None where there is none.
        target, calib, data, labels, weights, metric, weight_bits, activation_bits, first_bits,
            last_bits, observer, weight_observer, corrections, iterations, io: as the flags of these
            names.
        preprocessing: of images.
        layers: glob pattern over layer names to what they become; the last match wins.
    """

    model_config = _CLOSED
    path: Path | None = Field(default=None, exclude=True)
    target: str | None = None
    calib: str | None = None
    data: str | None = None
    labels: str | None = None
    weights: str | None = None
    metric: str | None = None
    weight_bits: int | None = None
    activation_bits: int | None = None
    first_bits: int | None = None
    last_bits: int | None = None
    observer: str | None = None
    weight_observer: str | None = None
    corrections: str | None = None
    iterations: int | None = None
    io: Edges | None = None
    preprocessing: Preprocessing | None = None
    layers: dict[str, LayerSettings] = Field(default_factory=dict)

    def recipe(
        self,
        weight_bits: int | None,
        activation_bits: int | None,
        keep_float: Sequence[str] = (),
        first_bits: int | None = None,
        last_bits: int | None = None,
    ) -> Recipe:
        """Widths and layers, where flags win.

        Args:
            weight_bits, activation_bits: widths of everything.
            keep_float: patterns of layers that stay in float.
            first_bits, last_bits: weight widths of the first and the last layers.
        """
        layers = {
            pattern: LayerRecipe(**rule.model_dump()) for pattern, rule in self.layers.items()
        }
        for pattern in keep_float:
            # last, so that it wins; a pattern of the file keeps its other wishes
            layers[pattern] = replace(layers.pop(pattern, LayerRecipe()), keep_float=True)
        return Recipe(
            self.weight_bits if weight_bits is None else weight_bits,
            self.activation_bits if activation_bits is None else activation_bits,
            layers,
            self.first_bits if first_bits is None else first_bits,
            self.last_bits if last_bits is None else last_bits,
        )

    def calibration(
        self,
        observer: str | None,
        weight_observer: str | None,
        corrections: str | None,
        iterations: int | None,
    ) -> CalibrationSettings | None:
        """How scales are chosen and corrected, where flags win; None where nothing is stated."""
        names = corrections or self.corrections
        wishes: dict[str, Any] = {
            "activations": observer or self.observer,
            "weights": weight_observer or self.weight_observer,
            "iterations": iterations or self.iterations,
            "corrections": None if names is None else _names(names),
        }
        stated = {kind: wish for kind, wish in wishes.items() if wish is not None}
        return CalibrationSettings(**stated) if stated else None

    def target_of(self, reference: str, flag: str | None) -> str | None:
        """The target for a model; None for a prepared one where nobody states it: it has its own.

        Raises:
            InputError: no target for a float model.
        """
        if (Path(reference) / GRAPH_FILE).is_file():
            return flag or self.target
        return self.require("target", flag)

    def require(self, key: str, flag: T | None) -> T | str:
        """The flag, else the file's value.

        Raises:
            InputError: neither states it.
        """
        stated: str | None = getattr(self, key)
        if flag is None and stated is None:
            raise InputError(
                f"--{key}",
                f"{key} is stated, by a flag or in {FILE}",
                found=f"no --{key}, and no {key} in {self.path}"
                if self.path
                else f"no --{key}, and no {FILE} beside the model",
                next_step=f"give --{key}, or write {key} into {self.path or FILE}",
            )
        return stated if flag is None else flag  # type: ignore[return-value]  # one of them is stated


def _names(corrections: str) -> tuple[str, ...]:
    return () if corrections == "none" else tuple(corrections.split(","))


def find_settings(reference: str, config: Path | None = None) -> Settings:
    """The settings for a model: ``config``, else the file beside it, else none.

    Args:
        reference: a model or a bundle; for ``package.module:callable`` the current folder is looked
            into.
        config: a file of any name.

    Raises:
        InputError: the file cannot be read, has an unknown key or a value that is none.
    """
    path = Path(FILE) if names_code(reference) else Path(reference).parent / FILE
    if config is None and not path.is_file():
        return Settings()
    settings = read_settings(config or path)
    prepared = Path(reference) / GRAPH_FILE
    if not prepared.is_file():
        return settings
    own: dict[str, Any] = dict.fromkeys(_OF_PREPARATION)
    return settings.model_copy(update={**own, "layers": {}})  # a prepared model has its own


def read_settings(path: Path) -> Settings:
    """Read one file; see :func:`find_settings`."""
    table = read_table(path, "settings")
    if "path" in table:  # ours, not the user's
        raise unknown_key(("path",), Settings, str(path), FILE)
    settings = parse_table(table, Settings, str(path), FILE)
    return settings.model_copy(update={"path": path, **_resolved(settings, path.parent)})


def parse_preprocessing(where: str, table: object) -> Preprocessing:
    """The preprocessing that a manifest states.

    Raises:
        InputError: it is none.
    """
    try:
        return TypeAdapter(Preprocessing).validate_json(json.dumps(table))
    except ValidationError as error:
        raise InputError(
            where,
            "a manifest states a preprocessing",
            found=error.errors()[0]["msg"],
            next_step="export again",
        ) from error


def _resolved(settings: Settings, folder: Path) -> dict[str, str]:
    """Paths of the file, from its folder; names of profiles and of code stay."""
    paths = {key: getattr(settings, key) for key in ("calib", "data", "labels", "weights")}
    found = {key: from_folder(value, folder) for key, value in paths.items() if value is not None}
    if settings.target is not None:
        found["target"] = target_from_folder(settings.target, folder)
    return found
