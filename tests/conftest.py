"""Shared fixtures: the digits network, trained for a few seconds, and its bundles."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from deployq import pipeline
from deployq.data import Dataset
from deployq.graph.preparation import PreparedModel
from deployq.graph.recipe import Recipe
from deployq_calibration.calibration_settings import CalibrationSettings
from deployq_calibration.corrections import DEFAULT
from examples.digits import TRAIN, DigitsNet, digits, train


@pytest.fixture(autouse=True)
def seed() -> None:
    """The same random numbers for a test whatever ran before it."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def images() -> Dataset:
    """All 1797 digits in file order; those from TRAIN on are unseen by training."""
    x, y = digits()
    return Dataset({"x": x}, y)


@pytest.fixture(scope="session")
def calibration(images: Dataset) -> Dataset:
    return images.take(256)


@pytest.fixture(scope="session")
def unseen(images: Dataset) -> Dataset:
    assert images.labels is not None
    return Dataset({"x": images.inputs["x"][TRAIN:]}, images.labels[TRAIN:])


@pytest.fixture(scope="session")
def digits_net() -> DigitsNet:
    x, y = digits()
    return train(x[:TRAIN], y[:TRAIN], epochs=4)


@pytest.fixture(scope="session")
def make_prepared(digits_net: DigitsNet, calibration: Dataset) -> Callable[..., PreparedModel]:
    """Prepare and calibrate the digits network for a target."""

    def make(
        target: str, recipe: Recipe | None = None, corrections: Sequence[str] = DEFAULT
    ) -> PreparedModel:
        prepared = pipeline.prepare(digits_net, [torch.zeros(2, 1, 8, 8)], target, recipe)
        settings = CalibrationSettings(
            corrections=tuple(corrections),
            iterations=20,  # all of the default, but quick
        )
        return pipeline.calibrate(prepared, calibration, settings)

    return make


@pytest.fixture(scope="session")
def bundles(
    make_prepared: Callable[..., PreparedModel],
    calibration: Dataset,
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[str], Path]:
    """The digits network exported for a target, once a session."""
    folder, made = tmp_path_factory.mktemp("bundles"), dict[str, Path]()

    def bundle(target: str) -> Path:
        if target not in made:
            made[target] = folder / target
            pipeline.export(make_prepared(target), made[target], calibration)
        return made[target]

    return bundle


@pytest.fixture(scope="session")
def digits_pt2(digits_net: DigitsNet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "digits.pt2"
    batch = {0: torch.export.Dim.DYNAMIC}
    program = torch.export.export(digits_net, (torch.zeros(2, 1, 8, 8),), dynamic_shapes=(batch,))
    torch.export.save(program, path)
    return path


@pytest.fixture(scope="session")
def calib_npz(calibration: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "calib.npz"
    np.savez(path, x=calibration.inputs["x"])
    return path


@pytest.fixture(scope="session")
def test_npz(unseen: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "test.npz"
    assert unseen.labels is not None
    np.savez(path, x=unseen.inputs["x"], y=unseen.labels)
    return path
