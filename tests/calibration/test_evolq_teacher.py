"""What teaches Evol-Q: which networks may, and when one has to be named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import deployq
from deployq.data import Dataset
from deployq.errors import InputError
from deployq.graph.preparation import PreparedModel
from deployq_calibration.calibration_settings import CalibrationSettings
from deployq_calibration.corrections import DEFAULT
from deployq_calibration.evolq import EvolveSettings
from tests.calibration.test_evolq import SMALL, images, network


def model(corrections: tuple[str, ...] = (), target: str = "int4-npu") -> PreparedModel:
    prepared = deployq.prepare(network(), [torch.zeros(2, 6, 8)], target)
    settings = CalibrationSettings(corrections=corrections, iterations=5)
    return deployq.calibrate(prepared, images(), settings)


def trained() -> PreparedModel:
    prepared = model()
    with torch.no_grad():
        prepared.module.get_parameter("head.weight").add_(0.01)
    return prepared


NEEDS = r"(?s)^teacher: .*found: .*has written.*next: give the float network"


@pytest.mark.parametrize("corrections", [DEFAULT, ("bias",), ("equalization", "bias")])
def test_a_network_that_corrections_wrote_into_does_not_teach(corrections: Any) -> None:
    prepared = model(corrections)
    with pytest.raises(InputError, match=NEEDS):
        deployq.evolve_scales(prepared, images(), SMALL)
    deployq.evolve_scales(prepared, images(), SMALL, teacher=network())


def test_neither_does_a_trained_one_nor_one_of_an_older_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=NEEDS):
        deployq.evolve_scales(trained(), images(), SMALL)
    older = model()
    older.provenance.clear()
    with pytest.raises(InputError, match=NEEDS):
        deployq.evolve_scales(older, images(), SMALL)


@pytest.mark.parametrize("corrections", [(), ("smoothing",), ("equalization",)])
def test_the_network_inside_teaches_where_nothing_wrote(
    corrections: tuple[str, ...], tmp_path: Path
) -> None:
    prepared = model(corrections)
    deployq.save_prepared(prepared, tmp_path)
    again = deployq.load_prepared(tmp_path)
    inside = deployq.evolve_scales(again, images(), SMALL)
    named = deployq.evolve_scales(prepared, images(), SMALL, teacher=network())
    # smoothing and equalization move factors between layers, in float32
    assert inside.before == pytest.approx(named.before, rel=1e-5)


def test_training_after_equalization_is_still_seen() -> None:
    prepared = trained()
    settings = CalibrationSettings(corrections=("equalization",))
    deployq.calibrate(prepared, images(), settings)
    with pytest.raises(InputError, match=NEEDS):
        deployq.evolve_scales(prepared, images(), SMALL)


def test_the_bundle_says_how_its_scales_were_searched(tmp_path: Path) -> None:
    prepared = model()
    found = deployq.evolve_scales(prepared, images(), SMALL)
    bundle = deployq.export(prepared, tmp_path / "bundle", images())
    fact: Any = bundle.facts["scale_search"]
    assert (fact["before"], fact["after"]) == (found.before, found.after)
    assert fact["settings"]["seed"] == 0 and fact["arithmetic"] == "file"


def taught(net: Any, **more: Any) -> Any:
    settings = EvolveSettings(**(vars(SMALL) | {"passes": 1, **more}))
    return deployq.evolve_scales(model(), images(), settings, teacher=net)


def test_outputs_in_any_nest_are_taken() -> None:
    net = network()
    assert taught(lambda x: {"logits": net(x), "loss": None}) == taught(net)


def test_a_teacher_in_training_mode_is_evaluated_and_left_as_it_was() -> None:
    net = network()
    for module in net.modules():
        if isinstance(module, nn.MultiheadAttention):
            module.dropout = 0.5
    net.train()
    net.get_submodule("head").eval()
    assert taught(net).before == taught(network()).before
    assert net.training and not net.get_submodule("head").training


@pytest.mark.parametrize(("teacher", "said"), [
    (lambda x: network()(x)[:, :3], r"outputs of \[\[3\]\] for each sample.*of \[\[5\]\]"),
    (nn.Linear(4, 5), "takes the inputs of the model.*found: RuntimeError"),
    (lambda x: network()(x) * float("nan"), "finite.*found: NaN"),
    (lambda x: (network()(x), "text"), "returns tensors.*found: str"),
    (lambda x: {}, "returns tensors.*found: nothing"),
    (lambda x: network()(x).mean(), r"returns tensors.*found: shape \[\]"),
])  # fmt: skip
def test_a_teacher_that_does_not_fit_is_refused(teacher: Any, said: str) -> None:
    with pytest.raises(InputError, match=rf"(?s)^teacher: .*{said}.*next:"):
        taught(teacher)


@pytest.mark.parametrize("share", [0.9, 0.99])
def test_a_batch_is_left_to_search_on(share: float) -> None:
    with pytest.raises(InputError, match=r"(?s)^held_back: .*of 3 batches.*up to 0\.667"):
        taught(network(), held_back=share)


def test_inputs_of_no_network_are_refused() -> None:
    data = Dataset({"x": np.zeros((60, 5, 8), np.float32)})
    with pytest.raises(InputError):
        deployq.evolve_scales(model(), data, SMALL, teacher=network())
