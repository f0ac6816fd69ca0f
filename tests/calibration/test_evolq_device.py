"""Evol-Q on another device: the processor's scales to the bit, and devices that are none."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch

from deployq.arithmetic.kernels.devices import exact_device
from deployq.arithmetic.kernels.precision import plain_float32
from deployq.errors import InputError
from tests.calibration.evolq_on_device import SEARCHED
from tests.test_cli_train import ENVIRONMENT


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """In a process of its own: torch does not forget a device."""
    folder = tmp_path_factory.mktemp("device")
    done = subprocess.run(
        [sys.executable, "-m", "tests.calibration.evolq_on_device", str(folder)],
        env=os.environ | ENVIRONMENT, capture_output=True, text=True, check=False, timeout=540,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", SEARCHED)
def test_another_device_decides_as_the_processor_does(name: str, found: Any) -> None:
    assert found["calls"] > 1000
    assert found[f"{name}.pretend"] == found[f"{name}.cpu"]
    assert found[f"{name}.cpu"]["after"] < found[f"{name}.cpu"]["before"]


def test_a_model_that_lives_there_comes_back(found: Any) -> None:
    here, there = found["floats.cpu"], found["floats.pretend"]
    assert (here.pop("homes"), there.pop("homes")) == (["cpu"], ["pretend"])
    assert here == there  # the pretended device computes these floats as the processor does


def test_a_teacher_computes_where_it_is(found: Any) -> None:
    here, there = (np.array(found[f"taught.{device}"]) for device in ("cpu", "pretend"))
    assert here.shape == (80, 5)
    np.testing.assert_allclose(there, here, rtol=0, atol=1e-5)  # float32 sums in another order


def test_a_device_that_rounds_is_refused(found: Any) -> None:
    said = found["refused"]
    assert said.startswith("device: a device is there, and computes on integers what the processor")
    assert "'pretend', with other products with a constant, products of two activations" in said


@pytest.mark.parametrize(("name", "said"), [
    ("meta", "'meta': Cannot copy"), ("gpu", "'gpu': Expected one of"), ("", "''"),
    pytest.param("cuda", "'cuda': Torch not compiled", marks=pytest.mark.skipif(
        torch.version.cuda is not None, reason="this torch has CUDA")),
])  # fmt: skip
def test_what_is_no_device_is_refused(name: str, said: str) -> None:
    with pytest.raises(InputError, match=r"(?s)--device: .*next: leave it out") as caught:
        exact_device(name, "--device")
    assert f"found: {said}" in str(caught.value)


def test_products_for_a_gpu_have_no_tf32_and_leave_the_switches() -> None:
    before = torch.backends.cuda.matmul.fp32_precision, torch.backends.cudnn.enabled
    with plain_float32(torch.device("cuda")):
        assert torch.backends.cuda.matmul.fp32_precision == "ieee"
        assert not torch.backends.cudnn.enabled
    assert (torch.backends.cuda.matmul.fp32_precision, torch.backends.cudnn.enabled) == before
