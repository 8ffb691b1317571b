"""RetinaNet's detections from its maps, by operators that Caffe2 has.

Source: detectron2 0.5, modeling/meta_arch/retinanet.py (inference_single_image), for what is computed.
"""

import torch
from torch import Tensor, nn

from roastery.detectors.anchors import AnchorGenerator
from roastery.detectors.batch import each_image
from roastery.ops import box_with_nms_limit, shape, top_k
from roastery.ops.boxes import MAX_LOG_SCALE


class RetinaNetDecoder(nn.Module):
    """The best candidates of each level, moved from their anchors, then NMS within each class over all levels.

    A level gives `topk_candidates` rows however many it has: those that are missing score 0, and no threshold lets them
    through. Boxes are not cut to the image, as detectron2 cuts them only when it scales them back.
    """

    def __init__(
        self,
        anchors: AnchorGenerator,
        classes: int,
        *,
        score_thresh: float,
        topk_candidates: int,
        nms_thresh: float,
        detections_per_image: int,
        box_weights: list[float],
    ) -> None:
        super().__init__()
        self.strides = anchors.strides
        self.anchors_per_cell = anchors.anchors_per_cell
        self.classes = classes
        self.score_thresh = score_thresh
        self.topk_candidates = topk_candidates
        self.nms_thresh = nms_thresh
        self.detections_per_image = detections_per_image
        self.box_weights = box_weights
        for level, boxes in enumerate(anchors.cell_anchors):
            sides = boxes[:, 2:] - boxes[:, :2]
            self.register_buffer(f"sides_{level}", sides, persistent=False)
            self.register_buffer(f"centres_{level}", boxes[:, :2] + 0.5 * sides, persistent=False)
        # The score of a row stands in the column of its class; the last one is the background's.
        self.one_hot: Tensor
        self.register_buffer("one_hot", torch.eye(classes, classes + 1), persistent=False)

    def forward(self, logits: list[Tensor], deltas: list[Tensor]) -> tuple[Tensor, ...]:
        """Detections of a batch.

        Args:
            logits: for each level (N, A * K, H, W).
            deltas: for each level (N, A * 4, H, W).

        Returns:
            bbox_nms (n, 4) xyxy pixels of the padded image, score_nms (n,), class_nms (n,) float32 counting from 0 and,
            where N > 1, batch_splits (N,) float32.
        """
        batch, levels = logits[0].shape[0], range(len(logits))
        maps = [list(zip(each_image(x), each_image(y), strict=True)) for x, y in zip(logits, deltas, strict=True)]
        found = [self._candidates(level, *maps[level][image]) for image in range(batch) for level in levels]
        scores, centres, sides, moves = (torch.cat(parts) for parts in zip(*found, strict=True))
        boxes = self._decode(centres, sides, moves)
        rows = len(levels) * self.topk_candidates
        score_nms, bbox_nms, class_nms, batch_splits, *_ = box_with_nms_limit(
            scores,
            boxes,
            boxes.new_tensor([float(rows)] * batch) if batch > 1 else None,
            score_thresh=self.score_thresh,
            nms=self.nms_thresh,
            detections_per_im=self.detections_per_image,
            cls_agnostic_bbox_reg=True,
            input_boxes_include_bg_cls=False,
            output_classes_include_bg_cls=False,
            legacy_plus_one=False,
        )
        detections = (bbox_nms, score_nms, class_nms)
        return (*detections, batch_splits) if batch > 1 else detections

    def _candidates(self, level: int, logits: Tensor, deltas: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The best of a level of one image: scores (topk, classes + 1), each of one class, and deltas (topk, 4).

        Between the two: the centres and sides (topk, 2) of their anchors, x before y.
        """
        maps = logits.sigmoid().flatten(2)
        values, places = top_k(maps.reshape(1, -1), k=self.topk_candidates)
        # A place is one in (anchor, class, row, column).
        channel, cell = _divmod(places.reshape(-1), shape(maps, axes=[2]))
        row, column = _divmod(cell, shape(logits, axes=[3]))
        kind, label = _divmod(channel, self.classes)
        corners = torch.cat([column.reshape(-1, 1), row.reshape(-1, 1)], dim=1).to(torch.float32)
        centres = corners * float(self.strides[level]) + self.get_buffer(f"centres_{level}")[kind]
        of_anchors = deltas.permute(0, 2, 3, 1).reshape(-1, 4)
        return (
            self.one_hot[label] * values.reshape(-1, 1),
            centres,
            self.get_buffer(f"sides_{level}")[kind],
            of_anchors[cell * self.anchors_per_cell + kind],
        )

    def _decode(self, centres: Tensor, sides: Tensor, deltas: Tensor) -> Tensor:
        """Anchors moved and stretched: boxes (n, 4), xyxy."""
        if any(weight != 1.0 for weight in self.box_weights):
            deltas = deltas / deltas.new_tensor(self.box_weights)
        centres = deltas[:, :2] * sides + centres
        halves = 0.5 * (deltas[:, 2:].clamp(max=MAX_LOG_SCALE).exp() * sides)
        return torch.cat([centres - halves, centres + halves], dim=1)


def _divmod(numbers: Tensor, divisor: Tensor | int) -> tuple[Tensor, Tensor]:
    """Quotient towards zero, and what is left; whole numbers."""
    quotient = torch.div(numbers, divisor, rounding_mode="trunc")
    return quotient, numbers - quotient * divisor
