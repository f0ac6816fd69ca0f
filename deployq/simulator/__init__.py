"""Run integer nodes under a contract, bit for bit."""

from __future__ import annotations

from deployq.simulator.interpreter import Simulation, run_graph

__all__ = ["Simulation", "run_graph"]
