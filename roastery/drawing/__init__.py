"""Detections and segments drawn over their image: for reports and for `roastery predict`."""
