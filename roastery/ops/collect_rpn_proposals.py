"""CollectRpnProposals: the best proposals over all levels."""

import onnx_ir as ir
import torch
from torch import Tensor

from roastery.errors import OperatorError
from roastery.ops.definition import new_count, operator
from roastery.ops.lowering import ALL, Lowering
from roastery.ops.std_sort import select_descending


def _fake(input_list: list[Tensor], **_: object) -> Tensor:
    return input_list[0].new_empty(new_count(), 5)


def _lower(
    lowering: Lowering, *inputs: ir.Value, rpn_max_level: int, rpn_min_level: int, rpn_post_nms_topN: int
) -> ir.Value:
    levels = rpn_max_level - rpn_min_level + 1
    rois, scores = lowering.concat(inputs[:levels]), lowering.concat([lowering.flat(x) for x in inputs[levels:]])
    _, order = lowering.best(scores, rpn_post_nms_topN if rpn_post_nms_topN > 0 else ALL)
    return lowering("Gather", rois, order, axis=0)


@operator("CollectRpnProposals", outputs=("rois",), fake=_fake, lower=_lower)
def collect_rpn_proposals(
    input_list: list[Tensor], *, rpn_max_level: int = 6, rpn_min_level: int = 2, rpn_post_nms_topN: int = 2000
) -> Tensor:
    """The best `rpn_post_nms_topN` proposals, best first, of equal ones the earlier.

    Args:
        input_list: the rois (n_i, 5) float32 of each level, then the scores (n_i,) float32 of each level.
        rpn_max_level, rpn_min_level: only their difference counts: the number of levels less one.
        rpn_post_nms_topN: how many, over all images of the batch together; 0 or fewer for all.

    Returns:
        (n, 5) float32: image index, xyxy.

    Raises:
        OperatorError: not two inputs a level, or scores that do not fit their rois.

    Source: caffe2/operators/collect_and_distribute_fpn_rpn_proposals_op.cc, PyTorch 1.10.
    """
    levels = rpn_max_level - rpn_min_level + 1
    if levels < 1 or len(input_list) != 2 * levels:
        raise OperatorError(
            f"CollectRpnProposals: {len(input_list)} inputs for levels {rpn_min_level} to {rpn_max_level}"
        )
    rois, scores = input_list[:levels], input_list[levels:]
    for level_rois, level_scores in zip(rois, scores, strict=True):
        if level_rois.dim() != 2 or level_rois.shape[1] != 5 or level_scores.numel() != level_rois.shape[0]:
            raise OperatorError(
                f"CollectRpnProposals: scores {tuple(level_scores.shape)} do not fit rois {tuple(level_rois.shape)}"
            )
    all_scores = torch.cat([level_scores.reshape(-1) for level_scores in scores])
    count = rpn_post_nms_topN if 0 < rpn_post_nms_topN < len(all_scores) else len(all_scores)
    order = select_descending(all_scores.numpy(), count)
    return torch.cat(rois).index_select(0, torch.from_numpy(order))
