"""A converted model over images that somebody names: pictures of what it found, and COCO results."""
