"""Measuring: detections of a whole dataset, COCO AP, parity by tensors, latency, and the gate that judges them."""
