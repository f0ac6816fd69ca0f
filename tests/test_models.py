"""The model that the user named: files, folders, and Python that is the user's own."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from deployq.errors import InputError
from deployq.models import LoadedModel, load_model
from deployq.sources import DataRequest, open_samples

X = np.zeros((4, 3), np.float32)
Open = Callable[..., list[str]]


def load(reference: str, data: Path, weights: Path | None = None) -> LoadedModel:
    return load_model(reference, lambda: open_samples(DataRequest(str(data))), weights)


class Masked(nn.Module):
    def forward(
        self, x: Tensor, mask: Tensor | None = None, bias: Tensor | None = None, **unused: Any
    ) -> Tensor:
        y = torch.relu(x) if mask is None else torch.relu(x) * mask
        return y if bias is None else y + bias


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Open:
    """Opens ``user_net:model`` with data, and says which inputs it captured."""

    def run(model: object, **arrays: np.ndarray) -> list[str]:
        module = types.ModuleType("user_net")
        module.model = model  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "user_net", module)
        np.savez(tmp_path / "data.npz", **arrays)  # type: ignore[arg-type]
        captured = load("user_net:model", tmp_path / "data.npz").captured
        assert captured is not None
        return [str(n.target) for n in captured.graph.nodes if n.op == "placeholder"]

    return run


@pytest.mark.parametrize("model", [Masked(), Masked, lambda: Masked()])
def test_takes_a_module_a_class_and_a_factory(model: object, opened: Open) -> None:
    assert opened(model, x=X) == ["x"]
    assert opened(model, anything=X, y=np.zeros(4, np.int64)) == ["x"]


def test_arguments_with_defaults_are_inputs_where_the_data_names_them(opened: Open) -> None:
    assert opened(Masked(), x=X, mask=X) == ["x", "mask"]
    assert opened(Masked(), mask=X, bias=X, x=X[:, :]) == ["x", "mask", "bias"]
    assert opened(Masked(), x=X, bias=X) == ["x", "bias"]


def test_refuses_data_without_an_argument(opened: Open) -> None:
    with pytest.raises(InputError, match=r"(?s)found: mask.*next: add x to the data"):
        opened(Masked(), mask=X)


def test_a_factory_that_raises_shows_the_users_exception(opened: Open) -> None:
    def factory() -> nn.Module:
        raise RuntimeError("no checkpoint\nat all")

    with pytest.raises(InputError, match="RuntimeError: no checkpoint at all") as raised:
        opened(factory, x=X)
    assert isinstance(raised.value.__cause__, RuntimeError) and raised.value.next_step


@pytest.mark.parametrize("model", [3, dict, lambda: "net"])
def test_refuses_what_is_no_module(model: object, opened: Open) -> None:
    with pytest.raises(InputError, match=r"(?s)found: (int|dict|str).*next: return the model"):
        opened(model, x=X)


@pytest.mark.parametrize("array", [X.astype(np.float64), X.astype(np.uint8)])
def test_the_type_of_the_data_is_checked_before_capture(array: np.ndarray, opened: Open) -> None:
    model = nn.Sequential(nn.Linear(3, 2))
    with pytest.raises(InputError, match=r"(?s)input: .*allowed: float32.*next: .*float32"):
        opened(model, input=array)


def test_refuses_data_without_samples(opened: Open) -> None:
    for array in (X[:0], np.float32(1.0)):
        with pytest.raises(InputError, match=r"(?s)number of samples.*next: "):
            opened(Masked(), x=array)


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("", "AttributeError: .*next: define net in own_net"),
        ("1 / 0", "ZeroDivisionError.*next: import own"),
        ("import no_such_package", "ModuleNotFoundError.*next: import own"),
        ("raise ModuleNotFoundError('broken')", "ModuleNotFoundError.*next: import own"),
    ],
)
def test_a_module_that_does_not_import_is_the_users(
    source: str, found: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_net.py").write_text(source)
    np.savez(tmp_path / "data.npz", x=X)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "own_net", raising=False)
    with pytest.raises(InputError, match=f"(?s)own_net:net: .*{found}"):
        load("own_net:net", tmp_path / "data.npz")


def test_a_module_that_is_not_there_is_looked_for_elsewhere(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", x=X)
    for name in ("no_such_module:net", "no_such_package.net:net"):
        with pytest.raises(InputError, match=r"(?s)ModuleNotFoundError.*next: run from the"):
            load(name, tmp_path / "data.npz")


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("nope.pt2", "No such file.*next: export again"),
        ("nope", "No such file.*next: torch.export.save"),
        (".", r"a folder without prepared\.json.*next: name the folder"),
    ],
)
def test_a_missing_model_has_a_next_step(name: str, found: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"(?s){found}"):
        load(str(tmp_path / name), tmp_path / "data.npz")


class Batched(nn.Module):
    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        return torch.relu(batch["x"]) + batch["shift"]


class Untyped(nn.Module):
    def forward(self, batch, *, scale):  # type: ignore[no-untyped-def]  # as many users write
        return torch.relu(batch) * scale


class Tokens(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(5, 4)

    def forward(self, ids: Tensor) -> Tensor:
        y: Tensor = self.table(ids)
        return y


def test_dicts_keywords_and_ids(opened: Open) -> None:
    assert opened(Batched(), x=X, shift=X) == ["x", "shift"]
    assert opened(Untyped(), batch=X, scale=X) == ["batch", "scale"]
    for kind in (np.int64, np.int32):
        assert opened(Tokens(), ids=np.arange(4).reshape(2, 2).astype(kind)) == ["ids"]


def test_weights_are_put_into_the_users_module(opened: Open, tmp_path: Path) -> None:
    net = nn.Linear(3, 2)
    opened(net, input=X)
    state = {f"module.{key}": torch.ones_like(t) for key, t in net.state_dict().items()}
    torch.save({"state_dict": state}, tmp_path / "w.pt")
    loaded = load("user_net:model", tmp_path / "data.npz", tmp_path / "w.pt")
    assert len(loaded.notes) == 2 and bool((net.weight == 1).all())


def test_weights_are_for_a_callable(tmp_path: Path, digits_pt2: Path) -> None:
    for name in (digits_pt2, "other.pt2"):
        with pytest.raises(InputError, match=r"(?s)--weights: .*holds its own.*next: leave"):
            load(str(name), tmp_path / "data.npz", tmp_path / "w.pt")


def test_a_network_with_nan_in_it_is_refused(opened: Open, tmp_path: Path) -> None:
    net = nn.Linear(3, 2)
    net.weight.data[0, 0] = torch.nan
    with pytest.raises(InputError, match=r"(?s)user_net:model: .*infinity in weight \(1 of 6\)"):
        opened(net, input=X)
