"""Evol-Q: an evolutionary search over scales, block by block, against the float network's outputs.

Frumkin, Gope and Marculescu, "Jumping through Local Minima: Quantization in the Loss Landscape of
Vision Transformers", ICCV 2023, arXiv 2308.10814. What is read of the algorithm is the released
code's; the paper's text was not at hand. Ours: relative mutation, fitness in float64, scales that
stay on the target's lattice, and no look at labels: the released loop returns the scales that did
best on validation images.
"""

from deployq_calibration.evolq.evolved import Evolved
from deployq_calibration.evolq.search import evolve_scales
from deployq_calibration.evolq.settings import Codes, EvolveSettings, Mutation, Order, Searched

__all__ = [
    "Codes",
    "EvolveSettings",
    "Evolved",
    "Mutation",
    "Order",
    "Searched",
    "evolve_scales",
]
