"""Run a bundle in every runtime, each in a process of its own."""
