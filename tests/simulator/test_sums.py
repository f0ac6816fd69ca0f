"""Weights that are made ready once a node."""

from __future__ import annotations

import gc
from dataclasses import replace

import numpy as np
import torch

from deployq.qgraph import read_graph
from deployq.qgraph.nodes import Linear
from deployq.simulator import sums
from tests.simulator.nets import small_net


def test_nodes_of_one_name_have_their_own_weights() -> None:
    graph = read_graph(small_net(17))
    node = next(node for node in graph.nodes if isinstance(node, Linear))
    qx = graph.qparams[node.inputs[0]]
    x = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
    whole, axis = sums.accumulate(node, x, qx)
    bare, _ = sums.accumulate(replace(node, bias=None), x, qx)
    assert node.bias is not None and np.unique(node.bias).size > 1
    assert torch.equal(whole - bare, torch.tensor(node.bias).reshape(1, -1, 1, 1).expand_as(whole))
    assert axis == 1


def test_weights_go_with_their_node() -> None:
    before = len(sums._READY)
    graph = read_graph(small_net(17))
    for node in graph.nodes:
        if isinstance(node, Linear):
            sums.layer_sums(node, graph.qparams[node.inputs[0]])
    assert len(sums._READY) > before
    del graph, node
    gc.collect()
    assert len(sums._READY) <= before
