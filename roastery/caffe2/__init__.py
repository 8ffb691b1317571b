"""NetDefs: the messages, the conversion from ONNX, the runtimes, the picture."""
