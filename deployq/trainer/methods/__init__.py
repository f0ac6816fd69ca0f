"""Training methods by name, a file each."""

from __future__ import annotations

from deployq.trainer.methods.averaging import Averaging
from deployq.trainer.methods.method import Method, Phase
from deployq.trainer.methods.qat import QAT
from deployq.trainer.methods.sharpness import Sharpness
from deployq.trainer.recipe import TrainingRecipe

__all__ = ["Method", "Phase", "make_method"]

METHODS = {"qat": QAT, "saq": Sharpness, "sam": Sharpness, "sqwa": Averaging}


def make_method(recipe: TrainingRecipe) -> Method:
    """The method that a recipe names."""
    return METHODS[recipe.method](recipe)
