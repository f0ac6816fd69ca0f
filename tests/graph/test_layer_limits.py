"""Limits on whole layers and whole networks: kept, and changed until they refuse."""

from __future__ import annotations

import pytest
from torch import nn
from torch.nn import functional as F

from deployq.errors import UnsupportedError
from tests.graph.networks import conv, graph_of, prepared_for, profile_with

PLAIN = graph_of(
    lambda m, x: m.head(F.max_pool2d(F.relu(m.norm(m.stem(x))), 2).flatten(1)),
    stem=conv(3, 4),
    norm=nn.BatchNorm2d(4),
    head=nn.Linear(36, 5, bias=False),
)
LAYERS, PARAMETERS, MACS = 3, 3 * 4 * 9 + 4 + 36 * 5 + 5, 4 * 36 * 27 + 36 * 5


@pytest.mark.parametrize(
    ("key", "total"), [("max_layers", LAYERS), ("max_params", PARAMETERS), ("max_macs", MACS)]
)
def test_a_network_stays_within_the_limits(key: str, total: int) -> None:
    prepared_for(PLAIN, profile_with("int8-npu", **{f"limits__{key}": total}))
    with pytest.raises(UnsupportedError, match=rf"(?s)limits\.{key}.*found: {total}.*allowed: up"):
        prepared_for(PLAIN, profile_with("int8-npu", **{f"limits__{key}": total - 1}))


def test_a_bias_has_few_enough_channels() -> None:
    prepared_for(PLAIN, profile_with("int8-npu", bias__max_channels=5))
    with pytest.raises(UnsupportedError, match=r"(?s)head: .*bias\.max_channels.*found: 5"):
        prepared_for(PLAIN, profile_with("int8-npu", bias__max_channels=4))
