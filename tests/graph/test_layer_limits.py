"""Limits on whole layers and whole networks: kept, and changed until they refuse."""

from __future__ import annotations

from typing import Any

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


def _sum(joined: Any) -> Any:
    return graph_of(joined, left=conv(3, 4), right=conv(3, 4))


def test_a_sum_that_the_target_fuses_with_a_layer_is_refused() -> None:
    profile = profile_with("int8-npu", graph__residual="q_skip_only")
    pooled = _sum(lambda m, x: F.avg_pool2d(m.left(x), 2) + F.avg_pool2d(m.right(x), 2))
    prepared_for(pooled, profile)
    joined = _sum(lambda m, x: m.left(x) + F.avg_pool2d(m.right(x), 3, 1, 1))
    with pytest.raises(UnsupportedError, match=r"(?s)fuses a sum.*found: a sum that reads left"):
        prepared_for(joined, profile)
    prepared_for(joined, "int8-npu")
