"""From raw outputs to detections: instances at the network's size, then at the original image's, with pasted masks."""
