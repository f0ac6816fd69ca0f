"""Convolutional networks of timm, one a family, with random weights."""
