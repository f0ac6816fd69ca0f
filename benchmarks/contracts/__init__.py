"""The parts of ``benchmarks.contract``, one table a file."""
