"""The second stage: box, mask and keypoint branches over proposals, by Caffe2's operators."""

import torch
from torch import Tensor, nn
from yacs.config import CfgNode

from roastery.detectors.box_head import FastRCNNOutputLayers, build_box_head
from roastery.detectors.keypoint_head import build_keypoint_head
from roastery.detectors.mask_head import build_mask_head
from roastery.detectors.poolers import RoIPooler, build_pooler
from roastery.errors import ConfigError
from roastery.ops import bbox_transform, box_with_nms_limit, lengths_to_segment_ids


class StandardRoIHeads(nn.Module):
    """Detections from proposals.

    `forward` gives bbox_nms (n, 4) xyxy pixels of the padded image, score_nms (n,), class_nms (n,) float32 counting
    from 0; with a mask head mask_fcn_probs (n, classes, 28, 28) in 0..1; with a keypoint head kps_score (n, K, 56, 56)
    logits; and of a batch of several images batch_splits (N,) float32, the detections of each, one after another.
    """

    def __init__(
        self,
        in_features: list[str],
        box_pooler: RoIPooler,
        box_head: nn.Module,
        box_predictor: nn.Module,
        mask_pooler: RoIPooler | None,
        mask_head: nn.Module | None,
        keypoint_pooler: RoIPooler | None,
        keypoint_head: nn.Module | None,
        *,
        box_weights: list[float],
        class_agnostic_boxes: bool,
        score_thresh: float,
        nms_thresh: float,
        detections_per_image: int,
    ) -> None:
        super().__init__()
        self.box_in_features = in_features
        self.box_pooler = box_pooler
        self.box_head = box_head
        self.box_predictor = box_predictor
        self.mask_pooler = mask_pooler
        self.mask_head = mask_head
        self.keypoint_pooler = keypoint_pooler
        self.keypoint_head = keypoint_head
        self.box_weights = box_weights
        self.class_agnostic_boxes = class_agnostic_boxes
        self.score_thresh = score_thresh
        self.nms_thresh = nms_thresh
        self.detections_per_image = detections_per_image

    def output_names(self, batch: int) -> list[str]:
        """The names of what `forward` gives for a batch of that many images."""
        names = ["bbox_nms", "score_nms", "class_nms"]
        names += ["mask_fcn_probs"] if self.mask_head is not None else []
        names += ["kps_score"] if self.keypoint_head is not None else []
        return names + (["batch_splits"] if batch > 1 else [])

    def forward(self, features: dict[str, Tensor], rois: Tensor, im_info: Tensor) -> tuple[Tensor, ...]:
        levels = [features[name] for name in self.box_in_features]
        logits, deltas = self.box_predictor(self.box_head(self.box_pooler(levels, rois)))
        boxes, splits = bbox_transform(
            rois,
            deltas,
            im_info,
            weights=self.box_weights,
            apply_scale=True,
            rotated=False,
            angle_bound_on=True,
            angle_bound_lo=-180,
            angle_bound_hi=180,
            clip_angle_thresh=1.0,
            legacy_plus_one=False,
        )
        score_nms, bbox_nms, class_nms, batch_splits, *_ = box_with_nms_limit(
            torch.softmax(logits, dim=-1),
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
            cls_agnostic_bbox_reg=self.class_agnostic_boxes,
            input_boxes_include_bg_cls=False,
            output_classes_include_bg_cls=False,
            legacy_plus_one=False,
        )
        outputs = [bbox_nms, score_nms, class_nms]
        batch = im_info.shape[0]
        found = bbox_nms if batch == 1 else _with_image(bbox_nms, batch_splits)
        if self.mask_head is not None and self.mask_pooler is not None:
            outputs.append(self.mask_head(self.mask_pooler(levels, found)).sigmoid())
        if self.keypoint_head is not None and self.keypoint_pooler is not None:
            outputs.append(self.keypoint_head(self.keypoint_pooler(levels, found)))
        return (*outputs, batch_splits) if batch > 1 else tuple(outputs)


def _with_image(boxes: Tensor, batch_splits: Tensor) -> Tensor:
    """Boxes (n, 4), images in order, as RoIs (n, 5) with the index of their image."""
    images = lengths_to_segment_ids(batch_splits.to(torch.int32)).to(torch.float32).reshape(-1, 1)
    # For torch.export, which counts both as numbers of their own.
    torch._check(images.shape[0] == boxes.shape[0])  # type: ignore[no-untyped-call]
    return torch.cat([images, boxes], dim=1)


def build_roi_heads(config: CfgNode, channels: int, strides: dict[str, int]) -> StandardRoIHeads:
    """The heads that `config.MODEL.ROI_HEADS` describes, over features of these channels and strides, no weights.

    Raises:
        ConfigError: heads that have no Caffe2 form here.
    """
    roi_heads, box = config.MODEL.ROI_HEADS, config.MODEL.ROI_BOX_HEAD
    if roi_heads.NAME != "StandardROIHeads":
        raise ConfigError(f"MODEL.ROI_HEADS.NAME: {roi_heads.NAME!r} has no Caffe2 form here; use StandardROIHeads")
    in_features = list(roi_heads.IN_FEATURES)
    if not in_features or any(name not in strides for name in in_features):
        raise ConfigError(f"MODEL.ROI_HEADS.IN_FEATURES: {in_features} must be among {sorted(strides)}")
    level_strides = [strides[name] for name in in_features]
    box_head = build_box_head(config, channels)
    mask_on, keypoint_on = config.MODEL.MASK_ON, config.MODEL.KEYPOINT_ON
    return StandardRoIHeads(
        in_features,
        build_pooler(box, "MODEL.ROI_BOX_HEAD", level_strides, empty_rois=False),
        box_head,
        FastRCNNOutputLayers(box_head.out_channels, roi_heads.NUM_CLASSES, box.CLS_AGNOSTIC_BBOX_REG),
        build_pooler(config.MODEL.ROI_MASK_HEAD, "MODEL.ROI_MASK_HEAD", level_strides, empty_rois=True)
        if mask_on
        else None,
        build_mask_head(config, channels) if mask_on else None,
        build_pooler(config.MODEL.ROI_KEYPOINT_HEAD, "MODEL.ROI_KEYPOINT_HEAD", level_strides, empty_rois=True)
        if keypoint_on
        else None,
        build_keypoint_head(config, channels) if keypoint_on else None,
        box_weights=[float(weight) for weight in box.BBOX_REG_WEIGHTS],
        class_agnostic_boxes=box.CLS_AGNOSTIC_BBOX_REG,
        score_thresh=roi_heads.SCORE_THRESH_TEST,
        nms_thresh=roi_heads.NMS_THRESH_TEST,
        detections_per_image=config.TEST.DETECTIONS_PER_IMAGE,
    )
