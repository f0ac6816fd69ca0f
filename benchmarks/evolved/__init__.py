"""Evol-Q measured: the parts of ``benchmarks/evolq.py``."""
