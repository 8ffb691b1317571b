"""The second stage: box, mask and keypoint branches over proposals, by Caffe2's operators."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from yacs.config import CfgNode

from roastery.detectors.backbone import ShapeSpec, levels
from roastery.detectors.box_head import build_box_branch
from roastery.detectors.keypoint_head import build_keypoint_head
from roastery.detectors.mask_head import build_mask_head
from roastery.detectors.poolers import RoIPooler, build_pooler
from roastery.detectors.registries import ROI_HEADS_REGISTRY
from roastery.ops import bbox_transform, box_with_nms_limit, lengths_to_segment_ids


@dataclass(frozen=True)
class Selection:
    """How scored boxes become detections.

    Attributes:
        class_agnostic: whether a proposal has one box for all classes, not one for each.
        sigmoid: whether the classes' scores are independent of each other, not parts of 1.
        score_thresh: a detection scores above it.
        nms_thresh: the IoU above which the lower of two boxes of a class is dropped.
        detections_per_image: at most so many.
    """

    class_agnostic: bool
    sigmoid: bool
    score_thresh: float
    nms_thresh: float
    detections_per_image: int

    def probabilities(self, logits: Tensor) -> Tensor:
        """Of (n, classes + 1) logits, background last."""
        return logits.sigmoid() if self.sigmoid else torch.softmax(logits, dim=-1)

    def select(
        self, probabilities: Tensor, boxes: Tensor, splits: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Detections of (n, classes + 1) probabilities and (n, 4 * classes or 4) boxes; `splits` says n of each image.

        Returns:
            boxes (k, 4), scores (k,), classes (k,) float32 and the detections of each image (N,) float32.
        """
        score_nms, bbox_nms, class_nms, batch_splits, *_ = box_with_nms_limit(
            probabilities,
            boxes,
            splits,
            score_thresh=self.score_thresh,
            nms=self.nms_thresh,
            detections_per_im=self.detections_per_image,
            soft_nms_enabled=False,
            soft_nms_method="linear",
            soft_nms_sigma=0.5,
            soft_nms_min_score_thres=0.001,
            rotated=False,
            cls_agnostic_bbox_reg=self.class_agnostic,
            input_boxes_include_bg_cls=False,
            output_classes_include_bg_cls=False,
            legacy_plus_one=False,
        )
        return bbox_nms, score_nms, class_nms, batch_splits


class RoIHeads(nn.Module):
    """Detections from proposals.

    `forward` gives bbox_nms (n, 4) xyxy pixels of the padded image, score_nms (n,), class_nms (n,) float32 counting
    from 0; with a mask head mask_fcn_probs (n, classes, 28, 28) in 0..1; with a keypoint head kps_score (n, K, 56, 56)
    logits; and of a batch of several images batch_splits (N,) float32, the detections of each, one after another.
    """

    def __init__(
        self,
        in_features: list[str],
        selection: Selection,
        mask_head: nn.Module | None,
        keypoint_head: nn.Module | None,
    ) -> None:
        super().__init__()
        self.in_features = in_features
        self.selection = selection
        # Modules with detectron2's `layers`.
        self.mask_head: Any = mask_head
        self.keypoint_head: Any = keypoint_head

    def output_names(self, batch: int) -> list[str]:
        """The names of what `forward` gives for a batch of that many images."""
        names = ["bbox_nms", "score_nms", "class_nms"]
        names += ["mask_fcn_probs"] if self.mask_head is not None else []
        names += ["kps_score"] if self.keypoint_head is not None else []
        return names + (["batch_splits"] if batch > 1 else [])

    def forward(self, features: dict[str, Tensor], rois: Tensor, im_info: Tensor) -> tuple[Tensor, ...]:
        maps = [features[name] for name in self.in_features]
        bbox_nms, score_nms, class_nms, batch_splits = self.selection.select(*self.predict(maps, rois, im_info))
        outputs = [bbox_nms, score_nms, class_nms]
        batch = im_info.shape[0]
        outputs += self.branches(maps, bbox_nms if batch == 1 else _with_image(bbox_nms, batch_splits))
        return (*outputs, batch_splits) if batch > 1 else tuple(outputs)

    @abstractmethod
    def predict(self, maps: list[Tensor], rois: Tensor, im_info: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of RoIs (n, 5): probabilities (n, classes + 1), boxes (n, 4 * classes or 4) and the RoIs of each image."""

    @abstractmethod
    def branches(self, maps: list[Tensor], found: Tensor) -> list[Tensor]:
        """What is given of detections, (n, 4) or (n, 5) with the index of their image: masks, then keypoints."""


class StandardRoIHeads(RoIHeads):
    """A box branch, and branches of their own for masks and keypoints, each with a pooler."""

    def __init__(
        self,
        in_features: list[str],
        selection: Selection,
        box_pooler: RoIPooler,
        box_head: nn.Module,
        box_predictor: nn.Module,
        box_weights: list[float],
        mask_pooler: RoIPooler | None = None,
        mask_head: nn.Module | None = None,
        keypoint_pooler: RoIPooler | None = None,
        keypoint_head: nn.Module | None = None,
    ) -> None:
        super().__init__(in_features, selection, mask_head, keypoint_head)
        self.box_pooler = box_pooler
        self.box_head = box_head
        self.box_predictor = box_predictor
        self.box_weights = box_weights
        self.mask_pooler = mask_pooler
        self.keypoint_pooler = keypoint_pooler

    def predict(self, maps: list[Tensor], rois: Tensor, im_info: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        logits, deltas = self.box_predictor(self.box_head(self.box_pooler(maps, rois)))
        return self.selection.probabilities(logits), *move_boxes(rois, deltas, im_info, self.box_weights)

    def branches(self, maps: list[Tensor], found: Tensor) -> list[Tensor]:
        outputs = []
        if self.mask_head is not None and self.mask_pooler is not None:
            outputs.append(self.mask_head.layers(self.mask_pooler(maps, found)).sigmoid())
        if self.keypoint_head is not None and self.keypoint_pooler is not None:
            outputs.append(self.keypoint_head.layers(self.keypoint_pooler(maps, found)))
        return outputs


def move_boxes(rois: Tensor, deltas: Tensor, im_info: Tensor, weights: Sequence[float]) -> tuple[Tensor, Tensor]:
    """RoIs (n, 5) moved by deltas (n, 4 * k): boxes (n, 4 * k) inside their images, and the RoIs of each image."""
    boxes: Tensor
    splits: Tensor
    boxes, splits = bbox_transform(
        rois,
        deltas,
        im_info,
        weights=list(weights),
        apply_scale=True,
        rotated=False,
        angle_bound_on=True,
        angle_bound_lo=-180,
        angle_bound_hi=180,
        clip_angle_thresh=1.0,
        legacy_plus_one=False,
    )
    return boxes, splits


def _with_image(boxes: Tensor, batch_splits: Tensor) -> Tensor:
    """Boxes (n, 4), images in order, as RoIs (n, 5) with the index of their image."""
    images = lengths_to_segment_ids(batch_splits.to(torch.int32)).to(torch.float32).reshape(-1, 1)
    # For torch.export, which counts both as numbers of their own.
    torch._check(images.shape[0] == boxes.shape[0])  # type: ignore[no-untyped-call]
    return torch.cat([images, boxes], dim=1)


def build_selection(config: CfgNode) -> Selection:
    """What the config says of scores and NMS."""
    heads, box = config.MODEL.ROI_HEADS, config.MODEL.ROI_BOX_HEAD
    return Selection(
        class_agnostic=box.CLS_AGNOSTIC_BBOX_REG,
        sigmoid=box.USE_SIGMOID_CE,
        score_thresh=heads.SCORE_THRESH_TEST,
        nms_thresh=heads.NMS_THRESH_TEST,
        detections_per_image=config.TEST.DETECTIONS_PER_IMAGE,
    )


@ROI_HEADS_REGISTRY.register_as("StandardROIHeads")
def build_standard_heads(config: CfgNode, input_shape: Mapping[str, ShapeSpec]) -> StandardRoIHeads:
    """The heads that detectron2 calls `StandardROIHeads`, without weights.

    Raises:
        ConfigError: a part that has no Caffe2 form here.
    """
    roi_heads, box = config.MODEL.ROI_HEADS, config.MODEL.ROI_BOX_HEAD
    channels, strides = levels(input_shape, roi_heads.IN_FEATURES, "MODEL.ROI_HEADS.IN_FEATURES")
    box_head, predictor = build_box_branch(config, channels, box.CLS_AGNOSTIC_BBOX_REG)
    return StandardRoIHeads(
        list(roi_heads.IN_FEATURES),
        build_selection(config),
        # The RPN gives no empty proposals; a file of them may.
        build_pooler(box, "MODEL.ROI_BOX_HEAD", strides, empty_rois=config.MODEL.LOAD_PROPOSALS),
        box_head,
        predictor,
        [float(weight) for weight in box.BBOX_REG_WEIGHTS],
        *build_branches(config, channels, strides),
    )


def build_branches(
    config: CfgNode, channels: int, strides: Sequence[int]
) -> tuple[RoIPooler | None, nn.Module | None, RoIPooler | None, nn.Module | None]:
    """Pooler and head of masks, then of keypoints; None for what the config does not ask for."""
    model = config.MODEL
    mask_pooler = mask_head = keypoint_pooler = keypoint_head = None
    # A detection may have been cut to nothing at the image's border.
    if model.MASK_ON:
        mask_pooler = build_pooler(model.ROI_MASK_HEAD, "MODEL.ROI_MASK_HEAD", strides, empty_rois=True)
        mask_head = build_mask_head(config, channels)
    if model.KEYPOINT_ON:
        keypoint_pooler = build_pooler(model.ROI_KEYPOINT_HEAD, "MODEL.ROI_KEYPOINT_HEAD", strides, empty_rois=True)
        keypoint_head = build_keypoint_head(config, channels)
    return mask_pooler, mask_head, keypoint_pooler, keypoint_head
