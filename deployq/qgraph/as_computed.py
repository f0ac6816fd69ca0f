"""A file's nodes as a contract computes them, where it joins what the file has apart."""

from __future__ import annotations

from deployq.arithmetic.contract import Contract
from deployq.qgraph.concat_makers import concats_by_makers
from deployq.qgraph.gates import gates_joined
from deployq.qgraph.nodes import IntegerGraph


def as_computed(graph: IntegerGraph, contract: Contract) -> IntegerGraph:
    """Gates first: what they become may write at the parameters of a Concat."""
    return concats_by_makers(gates_joined(graph, contract), contract)
