"""Float graphs: capture, guards for model files, preparation."""
