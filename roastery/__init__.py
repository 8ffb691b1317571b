"""Roastery: detectron2 models to Caffe2, measured."""

__version__ = "0.1.0"
