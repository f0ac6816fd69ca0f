"""Free paths in a module tree."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from deployq.graph.tensors import attach, free_name, kin


@pytest.mark.parametrize(("wanted", "free"), [
    ("a.weight", "a.weight_"), ("a.0.weight", "a.0.weight"), ("new.weight", "new.weight"),
    ("a.weight.scale", "a.weight_.scale"), ("train.0.weight", "train_.0.weight"), ("b", "b_"),
])  # fmt: skip
def test_a_free_path_can_be_attached(wanted: str, free: str) -> None:
    root = nn.Module()
    root.a, root.b = nn.Linear(2, 2), nn.Parameter(torch.ones(1))
    assert free_name(root, wanted) == free
    attach(root, free, torch.zeros(3))
    assert root.get_buffer(free).shape == (3,)


@pytest.mark.parametrize("learns", [True, False])
def test_kin_of_a_parameter_learns_alike(learns: bool) -> None:
    origin = nn.Parameter(torch.ones(2), requires_grad=learns)
    made = kin(torch.zeros(3), torch.ones(1), origin)
    assert isinstance(made, nn.Parameter) and made.requires_grad is learns
    assert not isinstance(kin(torch.zeros(3), torch.ones(1)), nn.Parameter)
