"""The deployable detectors: plain modules from (`data`, `im_info`) to output tensors, and their parts."""
