"""Trained networks of the data folder, written from its README; one file an architecture."""
