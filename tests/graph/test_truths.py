"""Tensors of two values are known as such."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import deployq
from deployq.arithmetic.contract import QDQ
from deployq.data import Dataset
from deployq.graph.codes import evaluate_steps
from deployq.graph.truths import tensors_of_truths
from tests.graph.networks import Masked


def masked(heads: bool) -> Masked:
    """Attention of tokens to each other; with an axis of heads the mask's factor is a layer."""

    def shares(m: Masked, x: Tensor, mask: Tensor) -> Tensor:
        x, hidden = (x[:, None], mask[:, None, None, :] == 0) if heads else (x, mask[:, None] == 0)
        scores = (x @ x.transpose(-2, -1)).masked_fill(hidden, -1e9)
        return torch.softmax(scores, -1) @ x

    return Masked(shares).eval()


@pytest.mark.parametrize("heads", [False, True])
def test_truths_and_their_products_with_a_number(heads: bool) -> None:
    x = torch.randn(16, 5, 8, generator=torch.Generator().manual_seed(0))
    mask = (torch.arange(80).reshape(16, 5) % 3 > 0).to(torch.int64)
    prepared = deployq.prepare(masked(heads), [x[:2], mask[:2]], "ort-cpu")
    found = tensors_of_truths(prepared)
    deployq.calibrate(prepared, Dataset({"x": x.numpy(), "mask": mask.numpy()}))
    codes = evaluate_steps(prepared, QDQ, x, mask, names=()).codes
    two = {name for name, tensor in codes.items() if len(tensor.unique()) == 2}
    assert found and found == two
