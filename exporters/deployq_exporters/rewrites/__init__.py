"""Rewrites on the ONNX graph (onnx-ir), one per file."""
