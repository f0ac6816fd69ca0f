"""Adapters to the runtimes that execute exported files, one module each."""
