"""Raw outputs of a net to instances, and instances to the original image's size."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from roastery.errors import RuntimeFailed
from roastery.postprocess.keypoints import decode_keypoints
from roastery.postprocess.masks import masks_of
from roastery.structures import Boxes, Instances


def assemble_instances(outputs: Mapping[str, Tensor], image_sizes: Sequence[tuple[int, int]]) -> list[Instances]:
    """The detections of each image, by falling score as detectron2 gives them; equal scores keep the net's order.

    Args:
        outputs: by name: bbox_nms (n, 4) xyxy pixels of the padded image, score_nms (n,), class_nms (n,) counting from
            0, mask_fcn_probs (n, C, S, S) in 0..1 where the net has masks (C = 1: one map for all classes), kps_score
            (n, K, S, S) where it has keypoints, and for more than one image batch_splits (N,), the number of detections
            of each.
        image_sizes: (height, width) of each image as the net saw it, without the padding.

    Returns:
        For each image `Instances` of its size with pred_boxes, scores, pred_classes (int64), pred_masks (k, 1, S, S),
        the map of the predicted class, and pred_keypoints (k, K, 3) x, y, score.

    Raises:
        RuntimeFailed: outputs that no net should give: one missing, lengths that differ, numbers that are not finite,
            a class without a map.
    """
    missing = [name for name in ("bbox_nms", "score_nms", "class_nms") if name not in outputs]
    if missing:
        raise RuntimeFailed(f"the net gave no {', '.join(missing)}; it gave {', '.join(sorted(outputs)) or 'nothing'}")
    boxes, scores = outputs["bbox_nms"].reshape(-1, 4), outputs["score_nms"].reshape(-1)
    classes = outputs["class_nms"].reshape(-1)
    fields = {"bbox_nms": boxes, "score_nms": scores, "class_nms": classes}
    fields |= {name: outputs[name] for name in ("mask_fcn_probs", "kps_score") if name in outputs}
    for name, value in fields.items():
        if len(value) != len(boxes):
            raise RuntimeFailed(f"the net gave {len(value)} rows of {name} for {len(boxes)} boxes")
        if not torch.isfinite(value).all():
            raise RuntimeFailed(f"the net gave NaN or infinity in {name}")
    classes = classes.to(torch.int64)
    masks = _of_predicted_class(outputs["mask_fcn_probs"], classes) if "mask_fcn_probs" in outputs else None

    instances = []
    start = 0
    for size, count in zip(image_sizes, _splits(outputs, len(boxes), len(image_sizes)), strict=True):
        rows = torch.argsort(scores[start : start + count], descending=True, stable=True) + start
        found = Instances(size, pred_boxes=Boxes(boxes[rows]), scores=scores[rows], pred_classes=classes[rows])
        if masks is not None:
            found.pred_masks = masks[rows]
        if "kps_score" in outputs:
            found.pred_keypoints = _keypoints(outputs["kps_score"][rows], boxes[rows])
        instances.append(found)
        start += count
    return instances


def resize_to_original(instances: Instances, height: int, width: int) -> Instances:
    """The instances in pixels of the original image, clipped to it, without those that become empty.

    Args:
        instances: pred_boxes, or an RPN's proposal_boxes, and, where there are any, pred_masks (n, 1, S, S) in 0..1 and
            pred_keypoints (n, K, 3); they are not changed.
        height, width: of the original image.

    Returns:
        `Instances` of (height, width), with pred_masks (k, height, width) bool, or unpasted within `pasting_later`.

    Source: detectron2 0.5, modeling/postprocessing.py (detector_postprocess).
    """
    seen_height, seen_width = instances.image_size
    name = "pred_boxes" if instances.has("pred_boxes") else "proposal_boxes"
    boxes = instances.get(name).clone()
    boxes.scale(width / seen_width, height / seen_height)
    boxes.clip((height, width))
    resized = Instances((height, width), **{**instances.get_fields(), name: boxes})
    if resized.has("pred_keypoints"):
        scales = torch.tensor([width / seen_width, height / seen_height, 1.0])
        resized.pred_keypoints = resized.pred_keypoints * scales
    resized = resized[boxes.nonempty()]
    if resized.has("pred_masks"):
        resized.pred_masks = masks_of(resized.pred_masks[:, 0], resized.pred_boxes.tensor, (height, width))
    return resized


def _keypoints(heatmaps: Tensor, boxes: Tensor) -> Tensor:
    if heatmaps.dim() != 4 or 0 in heatmaps.shape[1:]:
        raise RuntimeFailed(f"the net gave kps_score {tuple(heatmaps.shape)}, not (n, keypoints, S, S)")
    try:
        return decode_keypoints(heatmaps, boxes)
    except ValueError as error:
        raise RuntimeFailed(f"the net gave a box that no image holds: {error}") from error


def _of_predicted_class(maps: Tensor, classes: Tensor) -> Tensor:
    """(n, C, S, S) to (n, 1, S, S)."""
    if maps.shape[1] == 1:
        return maps
    if ((classes < 0) | (classes >= maps.shape[1])).any():
        raise RuntimeFailed(
            f"the net gave classes {int(classes.min())} to {int(classes.max())}, but maps of {maps.shape[1]} classes"
        )
    return maps[torch.arange(len(maps)), classes][:, None]


def _splits(outputs: Mapping[str, Tensor], detections: int, images: int) -> list[int]:
    if "batch_splits" not in outputs:
        if images != 1:
            raise RuntimeFailed(f"the net gave no batch_splits for a batch of {images}; convert it for that batch")
        return [detections]
    splits = [int(count) for count in outputs["batch_splits"].reshape(-1)]
    if len(splits) != images or sum(splits) != detections or min(splits) < 0:
        raise RuntimeFailed(f"the net gave batch_splits {splits} for {detections} detections in {images} images")
    return splits
