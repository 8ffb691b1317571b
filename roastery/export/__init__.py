"""A detector's way out of PyTorch: a traced program, then ONNX."""
