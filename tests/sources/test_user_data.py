"""What a user's loader may return."""

from __future__ import annotations

import itertools
import sys
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from deployq.data import Dataset
from deployq.errors import InputError
from deployq.sources import DataRequest, Preprocessing, Samples, open_dataset, open_samples

X = np.arange(12, dtype=np.float32).reshape(4, 3)
Y = np.array([0, 1, 2, 1])
PAIRS = TensorDataset(torch.from_numpy(X), torch.from_numpy(Y))
Opened = Callable[[Any], Samples]


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Opened:
    def run(made: object) -> Samples:
        module = types.ModuleType("user_data")
        module.load = made  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "user_data", module)
        return open_samples(DataRequest("user_data:load"))

    return run


@pytest.mark.parametrize(
    "made",
    [
        lambda: {"x": X, "y": Y},
        {"x": X, "y": Y},
        lambda: Dataset({"x": X}, Y),
        lambda: (X, Y),
        lambda: (torch.from_numpy(X), list(Y)),
        lambda: ({"x": X}, Y),
        lambda: DataLoader(PAIRS, batch_size=3),
        lambda: ({"x": X[i : i + 2], "y": Y[i : i + 2]} for i in (0, 2)),
        lambda: [(X[:1], Y[:1]), (X[1:], Y[1:])],
    ],
    ids=["dict", "no call", "Dataset", "tuple", "tensor", "dict and y", "loader", "dicts", "list"],
)
def test_every_shape_of_data(made: object, opened: Opened) -> None:
    data = opened(made).dataset({"input": (0, 3)})
    np.testing.assert_array_equal(data.inputs["input"], X, strict=True)
    assert data.labels is not None and data.labels.tolist() == Y.tolist()


@pytest.mark.parametrize("made", [lambda: X, lambda: torch.from_numpy(X), lambda: [X[:2], X[2:]]])
def test_data_without_labels(made: object, opened: Opened) -> None:
    data = opened(made).dataset({"input": (0, 3)})
    np.testing.assert_array_equal(data.inputs["input"], X, strict=True)
    assert data.labels is None


@pytest.mark.parametrize(
    ("made", "text"),
    [
        (lambda: 1 / 0, "ZeroDivisionError"),
        (lambda: (1 / 0 for _ in range(2)), "ZeroDivisionError"),
        (lambda: None, "NoneType.*allowed: a dict of arrays"),
        (lambda: "x.npz", "found: str"),
        (lambda: (X, X, X), r"found: tuple.*a tuple \(x, y\)"),
        (list, "no batches"),
        (lambda: [3], "a batch of int"),
        (lambda: PAIRS, "found: TensorDataset"),
        (lambda: [PAIRS[0], PAIRS[1]], "y of one sample, not of a batch"),
        (lambda: [X, (X, Y)], "a batch of x, y"),
        (lambda: [X, X.astype(np.float64)], "batches of x that differ: float32"),
        (lambda: [X, X[:, :2]], "batches of x that differ"),
        (lambda: {"x": np.array(["a"])}, "x of <U1"),
        (lambda: {"x": [[1], [1, 2]]}, "x is an array"),
        (lambda: (X * np.nan, Y), r"x: .*nan at index \(0, 0\)"),
    ],
)
def test_other_data_is_refused(made: object, text: str, opened: Opened) -> None:
    with pytest.raises(InputError, match=f"(?s)user_data:load.*({text}).*next: "):
        opened(made)


def test_a_loader_that_does_not_end_is_stopped(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deployq.sources.user_data.MAX_BYTES", 1000)
    with pytest.raises(InputError, match="does it end"):
        opened(lambda: itertools.repeat(X))


def test_bytes_are_preprocessed_and_lazy_data_stays_lazy(opened: Opened) -> None:
    opened(lambda: np.full((2, 4, 4, 3), 255, np.uint8))
    shape = {"x": (0, 3, 4, 4)}
    data = open_dataset("user_data:load", shape, preprocessing=Preprocessing("x/255"))
    assert (data.inputs["x"] == 1).all()
    again = opened(lambda: data).dataset(shape)
    assert again.columns["x"] is data.columns["x"]


def test_empty_and_wrongly_shaped_data(opened: Opened) -> None:
    with pytest.raises(InputError, match="number of samples"):
        opened(lambda: X[:0]).dataset({"x": (0, 3)})
    with pytest.raises(InputError, match=r"(?s)found: \(4, 3\).*\(N, 4\)"):
        opened(lambda: X).dataset({"x": (0, 4)})
