"""Proposals of one image from the RPN head's maps.

Source: detectron2 0.5, modeling/proposal_generator/proposal_utils.py (find_top_rpn_proposals).
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from yacs.config import CfgNode

from roastery.reference.anchors import base_anchors, grid_anchors
from roastery.reference.boxes import clip, decode, larger_than
from roastery.reference.nms import grouped_nms


def propose_in(
    config: CfgNode,
    rpn_head: nn.Module,
    features: Mapping[str, Tensor],
    strides: Mapping[str, int],
    size: tuple[int, int],
) -> tuple[Tensor, Tensor]:
    """What an RPN head proposes in the feature maps of one image, whose strides are given by name; see `propose`."""
    names = config.MODEL.RPN.IN_FEATURES
    objectness, deltas = rpn_head([features[name] for name in names])
    of_levels = [strides[name] for name in names]
    return propose(config, [x[0] for x in objectness], [x[0] for x in deltas], of_levels, size)


def propose(
    config: CfgNode,
    objectness: Sequence[Tensor],
    deltas: Sequence[Tensor],
    strides: Sequence[int],
    size: tuple[int, int],
) -> tuple[Tensor, Tensor]:
    """The best boxes of all levels together.

    Args:
        objectness: for each level (A, H, W) logits.
        deltas: for each level (A * 4, H, W).
        strides: of each level, in pixels.
        size: (height, width) of the image without its padding.

    Returns:
        (n, 4) float32 xyxy pixels and (n,) logits, by falling objectness; n is at most MODEL.RPN.POST_NMS_TOPK_TEST.
    """
    rpn = config.MODEL.RPN
    offset = config.MODEL.ANCHOR_GENERATOR.OFFSET
    boxes, scores, levels = [], [], []
    bases = base_anchors(config, len(strides))
    for level, (base, logits, moves, stride) in enumerate(zip(bases, objectness, deltas, strides, strict=True)):
        count, height, width = logits.shape
        anchors = grid_anchors(base, height, width, stride, offset)
        flat = logits.permute(1, 2, 0).reshape(-1)
        best, chosen = flat.topk(min(len(flat), rpn.PRE_NMS_TOPK_TEST))
        # Decoding only what was chosen gives the same boxes as decoding all and then choosing.
        by_anchor = moves.reshape(count, 4, height, width).permute(2, 3, 0, 1).reshape(-1, 1, 4)
        boxes.append(decode(by_anchor[chosen], anchors[chosen], rpn.BBOX_REG_WEIGHTS)[:, 0])
        scores.append(best)
        levels.append(torch.full_like(chosen, level))
    candidates, logits, groups = torch.cat(boxes), torch.cat(scores), torch.cat(levels)
    sound = candidates.isfinite().all(dim=1) & logits.isfinite()
    candidates = clip(candidates, size)
    sound &= larger_than(candidates, config.MODEL.PROPOSAL_GENERATOR.MIN_SIZE)
    candidates, logits, groups = candidates[sound], logits[sound], groups[sound]
    kept = grouped_nms(candidates, logits, groups, rpn.NMS_THRESH, rpn.POST_NMS_TOPK_TEST)
    return candidates[kept], logits[kept]
