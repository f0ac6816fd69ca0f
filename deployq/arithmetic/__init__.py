"""The integer arithmetic of deployment targets, written twice.

``contract`` holds the words in which a target states its arithmetic. ``oracle`` is their meaning in
NumPy: int64, float32 and float64 step by step, slow and plain. ``kernels`` is the same functions
with the same names in torch: fast, on any device, and equal to the oracle in every code.
"""
