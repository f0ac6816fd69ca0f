"""Residual sums of 16 bits in the transformers of timm, where 8 cannot hold a few large values."""

from __future__ import annotations

from deployq.graph.recipe import LayerRecipe

WIDE_SUMS = dict.fromkeys(("*add*", "*.proj", "*.fc2"), LayerRecipe(activation_bits=16))
"""The sums, and the layers whose outputs are added: ViT-Tiny's hold 570 beside 1."""
