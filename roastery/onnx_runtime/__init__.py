"""Standard ONNX: the lowering, the model's file, and ONNX Runtime that runs it."""
