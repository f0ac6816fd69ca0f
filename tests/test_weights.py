"""Checkpoints: what is taken, and what is refused by name."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file, save_model
from torch import nn

from benchmarks.models.cifar_resnet import CifarResNet
from deployq.errors import InputError, UnsafeFileError
from deployq.weights import load_weights

DATA = Path(os.environ.get("DEPLOYQ_DATA", "../shared/data"))


def net() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Linear(2, 3))


def state() -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    return {key: torch.rand_like(t.float()).to(t.dtype) for key, t in net().state_dict().items()}


def saved(path: Path, value: object) -> Path:
    if path.suffix == ".safetensors":
        save_file(value, path)  # type: ignore[arg-type]  # a dict of tensors
    else:
        torch.save(value, path)
    return path


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".pth", ".bin"])
def test_a_flat_state_dict(suffix: str, tmp_path: Path) -> None:
    model, wanted = net(), state()
    assert load_weights(model, saved(tmp_path / f"w{suffix}", wanted)) == ()
    assert all(torch.equal(t, wanted[key]) for key, t in model.state_dict().items())


@pytest.mark.parametrize("key", ["state_dict", "model"])
def test_a_nested_one_and_its_prefix_are_said(key: str, tmp_path: Path) -> None:
    model, wanted = net(), state()
    nested = {key: {f"module.{k}": t for k, t in wanted.items()}, "epoch": 3, "best": 0.5}
    notes = load_weights(model, saved(tmp_path / "w.pt", nested))
    assert [key in notes[0], "'module.' of every key is removed" in notes[1]] == [True, True]
    assert torch.equal(model.state_dict()["2.weight"], wanted["2.weight"])


def test_the_models_own_module_prefix_stays(tmp_path: Path) -> None:
    class Wrapper(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module = nn.Linear(2, 2)

    assert load_weights(Wrapper(), saved(tmp_path / "w.pt", Wrapper().state_dict())) == ()


def test_counters_may_be_missing_and_half_precision_is_exact(tmp_path: Path) -> None:
    model, wanted = net(), state()
    half = {k: t.half() for k, t in wanted.items() if not k.endswith("num_batches_tracked")}
    load_weights(model, saved(tmp_path / "w.safetensors", half))
    assert torch.equal(model.state_dict()["0.weight"], half["0.weight"].float())


def test_tied_weights_are_written_once_by_safetensors(tmp_path: Path) -> None:
    def tied() -> nn.Sequential:
        model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
        model[1].weight = model[0].weight
        return model

    model, other = tied(), tied()
    save_model(other, str(tmp_path / "w.safetensors"))
    load_weights(model, tmp_path / "w.safetensors")
    assert torch.equal(model.state_dict()["1.weight"], other.state_dict()["0.weight"])


def without(key: str) -> dict[str, torch.Tensor]:
    return {k: t for k, t in state().items() if k != key}


def changed(key: str, value: torch.Tensor) -> dict[str, torch.Tensor]:
    return {**state(), key: value}


BAD = torch.tensor([1.0, float("nan")])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (without("2.bias"), r"missing: 2\.bias; unexpected: none"),
        (changed("3.bias", torch.ones(1)), r"missing: none; unexpected: 3\.bias"),
        ({f"layer{i}": torch.ones(1) for i in range(20)}, "layer7, and 12 more"),
        (changed("2.bias", torch.ones(4)), r"2\.bias \(4,\), model \(3,\)"),
        (changed("2.bias", torch.ones(3).double()), r"2\.bias float64, model float32"),
        (changed("2.bias", torch.ones(3).long()), r"2\.bias int64, model float32"),
        (changed("1.running_var", BAD), r"NaN or infinity in 1\.running_var \(1 of 2\)"),
        (changed("1.weight", BAD / 0), r"1\.weight \(2 of 2\)"),
        ({"epoch": 3, "w": torch.ones(1)}, "no plain tensor under epoch"),
        ({"w": torch.ones(2).to_sparse()}, "no plain tensor under w"),
        ({}, "an empty dict"),
        ([torch.ones(1)], "found: list"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(value: object, text: str, tmp_path: Path) -> None:
    model = net()
    before = {key: t.clone() for key, t in model.state_dict().items()}
    with pytest.raises(InputError, match=f"(?s)w.pt: .*{text}.*next: "):
        load_weights(model, saved(tmp_path / "w.pt", value))
    assert all(torch.equal(t, before[key]) for key, t in model.state_dict().items())


def test_infinity_stays_where_the_model_has_it_itself(tmp_path: Path) -> None:
    model = net()
    model.register_buffer("mask", torch.tensor([0.0, -torch.inf]))
    load_weights(model, saved(tmp_path / "w.pt", model.state_dict()))
    broken = {**model.state_dict(), "mask": BAD}
    with pytest.raises(InputError, match=r"mask \(1 of 2\)"):
        load_weights(model, saved(tmp_path / "w.pt", broken))


class Bomb:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.marker,)


def test_a_pickle_with_code_is_refused_and_not_run(tmp_path: Path) -> None:
    for value in (Bomb(tmp_path / "marker"), {**state(), "x": Bomb(tmp_path / "marker")}, net()):
        with pytest.raises(UnsafeFileError, match=r"(?s)no code.*found: .*next: .*safetensors"):
            load_weights(net(), saved(tmp_path / "w.pt", value))
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("none.pt", "No such file"),
        ("folder.pt", "a folder"),
        ("w.h5", r"found: \.h5.*\.safetensors, \.pt"),
        ("broken.safetensors", "cannot be read"),
        ("broken.pt", "no code|cannot be read"),
        ("empty.pt", "cannot be read"),
    ],
)
def test_files_that_are_no_checkpoint(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / "folder.pt").mkdir()
    for broken in ("w.h5", "broken.safetensors", "broken.pt"):
        (tmp_path / broken).write_bytes(b"not a checkpoint at all")
    (tmp_path / "empty.pt").touch()
    with pytest.raises(InputError, match=f"(?s){text}.*next: "):
        load_weights(net(), tmp_path / name)


@pytest.mark.skipif(not (DATA / "models").is_dir(), reason="no DEPLOYQ_DATA with models")
def test_a_real_checkpoint_gives_the_outputs_of_its_source() -> None:
    model = CifarResNet(3)
    assert load_weights(model, DATA / "models/cifar10_resnet20.pt") == ()
    images = np.load(DATA / "cifar10/cifar10_test8k.npz")["x"][:32].astype(np.float32) / 255
    mean, std = np.array([0.485, 0.456, 0.406], "f4"), np.array([0.229, 0.224, 0.225], "f4")
    x = torch.from_numpy(((images - mean) / std).transpose(0, 3, 1, 2).copy())
    reference = np.load(DATA / "models/cifar10_resnet20.ref.npz")["logits"]
    with torch.no_grad():
        found = model.eval()(x).numpy()
    np.testing.assert_allclose(found, reference, atol=1e-3)  # float sums in another order
