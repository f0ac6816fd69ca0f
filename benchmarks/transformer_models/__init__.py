"""Transformers of timm and of the package ``transformers``, small, with random weights."""
