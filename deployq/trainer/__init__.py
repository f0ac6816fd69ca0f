"""Training by a recipe: the loop that ``deployq train`` runs around the pieces of ``train``."""

from __future__ import annotations

from deployq.trainer.recipe import TrainingRecipe, read_recipe
from deployq.trainer.running import TrainingResult, train_recipe

__all__ = ["TrainingRecipe", "TrainingResult", "read_recipe", "train_recipe"]
