"""Where a detector comes from: a config and a checkpoint, or a live detectron2 model."""
