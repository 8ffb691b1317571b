"""The original, for comparison: detectron2's inference over a detector's backbone and heads.

It shares nothing with the operators of a converted net, so that a fault in one shows as a difference.
"""
