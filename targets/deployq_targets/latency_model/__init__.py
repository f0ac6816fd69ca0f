"""How long a network takes on a target that nobody has at hand: modelled from its profile."""

from deployq_targets.latency_model.facts import Bound, ModelledLatency, ModelledLayer
from deployq_targets.latency_model.model import model_latency

__all__ = ["Bound", "ModelledLatency", "ModelledLayer", "model_latency"]
