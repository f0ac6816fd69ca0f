"""Other exporters, given the float ONNX file of the same network and the same samples."""
