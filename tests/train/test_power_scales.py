"""Scales that learn as powers of two: in force at every step, on disk, and after a resume."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from deployq.errors import InputError
from deployq.graph.integers import layer_integers
from deployq.graph.preparation import PreparedModel
from deployq.graph.prepared_files import GRAPH_FILE, load_prepared_model, save_prepared_model
from deployq.train import learn_scales
from tests.train.digits import PROFILES, data, prepared_on, train_on


def exponents(prepared: PreparedModel) -> dict[str, float]:
    """log2 of the scales in force; fails where one is no power of two."""
    modules = {**prepared.quantizers()}
    modules |= {f"{name}.weight": u.weight_quantizer for name, u in prepared.units().items()}
    found = {name: float(q.qparams().scale) for name, q in modules.items()}
    fractions, powers = np.frexp([*found.values()])
    assert (fractions == 0.5).all()
    return {name: int(power) - 1 for name, power in zip(found, powers, strict=True)}


def learning() -> PreparedModel:
    prepared = prepared_on(PROFILES["around-128"]())
    learn_scales(prepared)
    return prepared


def test_far_scales_come_back_by_whole_powers() -> None:
    prepared = learning()
    start = exponents(prepared)
    for unit in prepared.units().values():
        with torch.no_grad():
            unit.weight_quantizer.step.add_(2.0)
    seen: list[dict[str, float]] = []
    losses = train_on(prepared, steps=20, after=lambda: seen.append(exponents(prepared)))
    assert losses[-1] < losses[0] / 2
    for name in ("a.weight", "b.weight", "head.weight"):
        assert seen[0][name] == start[name] + 2 and seen[-1][name] < seen[0][name]


def test_learning_starts_and_stops_at_the_scale_in_force() -> None:
    prepared = learning()
    x = data()[0][:32]
    steps = learn_scales(prepared)
    assert learn_scales(prepared) == steps  # the same parameters: an optimizer may hold them
    assert [s is q.step for s, q in zip(steps, prepared.quantizers().values(), strict=False)]
    train_on(prepared)
    before = prepared.module(x)
    assert learn_scales(prepared, activations=False, weights=False) == []
    assert torch.equal(prepared.module(x), before)
    assert not any("exponent" in name for name in prepared.module.state_dict())
    exponents(prepared)


def test_training_resumes_to_the_bit() -> None:
    whole, first = learning(), learning()
    train_on(whole, steps=4)
    train_on(first, steps=4)
    second = learning()
    second.module.load_state_dict(copy.deepcopy(first.module.state_dict()))
    for prepared in (whole, second):
        train_on(prepared, steps=4)
    resumed = second.module.state_dict()
    assert all(torch.equal(t, resumed[n]) for n, t in whole.module.state_dict().items())


def test_an_exponent_that_is_no_number_is_refused() -> None:
    prepared = learning()
    with torch.no_grad():
        prepared.quantizers()["a"].step.fill_(torch.nan)
    for _ in range(2):  # as it learns, and as it was written back
        with pytest.raises(InputError, match=r"(?s)^a: scale: .*NaN or infinite.*next"):
            layer_integers(prepared)
        learn_scales(prepared, activations=False, weights=False)


def test_a_real_scale_of_an_older_format_stops_learning(tmp_path: Path) -> None:
    prepared = prepared_on(PROFILES["around-128"]())
    prepared.quantizers()["a"].scale.requires_grad_()
    save_prepared_model(prepared, tmp_path)
    facts = json.loads((tmp_path / GRAPH_FILE).read_text())
    for module in facts["graph"]["modules"].values():
        for config in (module["config"], module["config"].get("weight_quantizer", {})):
            for key in ("lattice", "batched", "learns_exponent"):
                config.pop(key, None)
    (tmp_path / GRAPH_FILE).write_text(json.dumps({**facts, "format": 3}))
    loaded = load_prepared_model(tmp_path)
    assert not loaded.quantizers()["a"].scale.requires_grad
    for name, quantizer in loaded.quantizers().items():
        assert quantizer.config() == prepared.quantizers()[name].config()
    for name, unit in loaded.units().items():
        assert unit.config() == prepared.units()[name].config()


def test_a_save_in_between_has_the_scales_in_force_and_trains_on(tmp_path: Path) -> None:
    prepared = learning()
    train_on(prepared)
    save_prepared_model(prepared, tmp_path)
    loaded, x = load_prepared_model(tmp_path), data()[0][:32]
    assert torch.equal(loaded.module(x), prepared.module(x))
    assert exponents(loaded) == exponents(prepared)
    for name, quantizer in loaded.quantizers().items():
        assert torch.equal(quantizer.scale, quantizer.effective_scale())
        step = prepared.quantizers()[name].step
        assert quantizer.step.requires_grad and torch.equal(quantizer.step, step)
