"""Trained models measured: budgets, loops and tables of ``benchmarks.training``."""
