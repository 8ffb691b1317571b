"""The detection operators of Caffe2. Importing this room defines them all."""

from roastery.ops.batch_permutation import batch_permutation

__all__ = ["batch_permutation"]
