"""An RPN's proposals, image by image, as detectron2's ProposalNetwork gives them."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from roastery.errors import RuntimeFailed
from roastery.structures import Boxes, Instances

NAMES = ("rpn_rois", "rpn_roi_probs")


def assemble_proposals(outputs: Mapping[str, Tensor], image_sizes: Sequence[tuple[int, int]]) -> list[Instances]:
    """The proposals of each image, by falling objectness.

    Args:
        outputs: by name: rpn_rois (n, 5), index of the image and xyxy pixels; rpn_roi_probs (n,) logits.
        image_sizes: (height, width) of each image as the net saw it, without the padding.

    Returns:
        For each image `Instances` of its size with proposal_boxes and objectness_logits (k,).

    Raises:
        RuntimeFailed: outputs that no net should give: one missing, lengths that differ, numbers that are not finite, a
            box of an image that is not there.
    """
    missing = [name for name in NAMES if name not in outputs]
    if missing:
        raise RuntimeFailed(f"the net gave no {', '.join(missing)}; it gave {', '.join(sorted(outputs)) or 'nothing'}")
    rois, logits = outputs["rpn_rois"].reshape(-1, 5), outputs["rpn_roi_probs"].reshape(-1)
    if len(rois) != len(logits):
        raise RuntimeFailed(f"the net gave {len(logits)} rpn_roi_probs for {len(rois)} rpn_rois")
    if not (torch.isfinite(rois).all() and torch.isfinite(logits).all()):
        raise RuntimeFailed("the net gave NaN or infinity in its proposals")
    images = rois[:, 0].to(torch.int64)
    if len(rois) and not (int(images.min()) >= 0 and int(images.max()) < len(image_sizes)):
        raise RuntimeFailed(f"the net gave proposals of an image that is none of the {len(image_sizes)}")
    proposals = []
    for index, size in enumerate(image_sizes):
        rows = (images == index).nonzero()[:, 0]
        rows = rows[torch.argsort(logits[rows], descending=True, stable=True)]
        proposals.append(Instances(size, proposal_boxes=Boxes(rois[rows, 1:]), objectness_logits=logits[rows]))
    return proposals
