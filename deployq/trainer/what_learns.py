"""What learns in a phase, and what is kept inside the target's limits meanwhile."""

from __future__ import annotations

from deployq.graph.integers import linear_calls
from deployq.graph.preparation import PreparedModel
from deployq.train import learn_scales
from deployq.trainer.optimizing import quantizer_prefixes
from deployq.trainer.recipe import TrainingRecipe


def learn_everything(prepared: PreparedModel, activations: bool, weights: bool) -> None:
    """Let every parameter of the network learn, and the scales that are asked for."""
    own = quantizer_prefixes(prepared)
    for name, parameter in prepared.module.named_parameters():
        parameter.requires_grad_(not name.startswith(own))
    learn_scales(prepared, activations=activations, weights=weights)


def limits_sums(recipe: TrainingRecipe, prepared: PreparedModel) -> bool:
    """Whether weights are kept inside the target's accumulator after each step.

    By itself only where products of the largest codes could leave it.
    """
    if recipe.accumulator != "auto":
        return recipe.accumulator == "project"
    profile = prepared.profile
    inputs = max(2**tensor.bits for tensor in prepared.plan.tensors)
    most = max(
        call.weight[0].numel() * 2 ** (call.unit.weight_quantizer.qtype.bits - 1)
        for call in linear_calls(prepared)
    )
    adders = profile.weight.sum_abs_max.values()
    return inputs * most > profile.accumulator.contract().high or any(most > a for a in adders)
