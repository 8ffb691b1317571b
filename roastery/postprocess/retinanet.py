"""Detections from the raw maps of a RetinaNet.

It computes what a net that decodes inside gives, by the same operators: so both ways agree.
Source: detectron2 0.5, modeling/meta_arch/retinanet.py (inference_single_image).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from roastery.errors import RuntimeFailed
from roastery.ops import box_with_nms_limit
from roastery.ops.boxes import decode_deltas


@dataclass(frozen=True)
class RetinaNetSettings:
    """What a RetinaNet's net says of itself.

    Attributes:
        score_threshold: a detection scores more.
        topk_candidates: of a level, at most.
        nms_threshold: the largest overlap of two detections of a class.
        max_detections_per_image: at most.
        box_weights: four divisors of the deltas.
        strides: of each level, pixels.
        cell_anchors: of each level, (A, 4) float32 xyxy around the first cell.
    """

    score_threshold: float
    topk_candidates: int
    nms_threshold: float
    max_detections_per_image: int
    box_weights: Sequence[float]
    strides: Sequence[float]
    cell_anchors: Sequence[Tensor]


def decode_maps(outputs: Mapping[str, Tensor], settings: RetinaNetSettings) -> dict[str, Tensor]:
    """The detections of a batch, under the names that a two-stage net gives them.

    Args:
        outputs: by name: box_cls_i (N, A * K, H, W) logits and box_delta_i (N, A * 4, H, W).

    Returns:
        bbox_nms (n, 4) xyxy pixels of the padded image, score_nms (n,), class_nms (n,) and batch_splits (N,).

    Raises:
        RuntimeFailed: maps that are missing, or do not fit the anchors.
    """
    scores, boxes, counts = [], [], []
    maps = [_maps(outputs, level, anchors) for level, anchors in enumerate(settings.cell_anchors)]
    images = {len(logits) for logits, _ in maps}
    if len(images) != 1:
        raise RuntimeFailed(f"the net gave maps of batches of {sorted(images)} images; convert the model again")
    classes = {
        logits.shape[1] // len(anchors) for (logits, _), anchors in zip(maps, settings.cell_anchors, strict=True)
    }
    if len(classes) != 1:
        raise RuntimeFailed(f"the net gave levels of {sorted(classes)} classes; convert the model again")
    for image in range(images.pop()):
        found = [
            _candidates(logits[image], deltas[image], anchors, stride, settings)
            for (logits, deltas), anchors, stride in zip(maps, settings.cell_anchors, settings.strides, strict=True)
        ]
        scores += [rows for rows, _ in found]
        boxes += [moved for _, moved in found]
        counts.append(sum(len(rows) for rows, _ in found))
    score_nms, bbox_nms, class_nms, batch_splits, *_ = box_with_nms_limit.kernel(
        torch.cat(scores),
        torch.cat(boxes),
        torch.tensor(counts, dtype=torch.float32),
        score_thresh=settings.score_threshold,
        nms=settings.nms_threshold,
        detections_per_im=settings.max_detections_per_image,
        cls_agnostic_bbox_reg=True,
        input_boxes_include_bg_cls=False,
        output_classes_include_bg_cls=False,
        legacy_plus_one=False,
    )
    return {"bbox_nms": bbox_nms, "score_nms": score_nms, "class_nms": class_nms, "batch_splits": batch_splits}


def _maps(outputs: Mapping[str, Tensor], level: int, anchors: Tensor) -> tuple[Tensor, Tensor]:
    names = (f"box_cls_{level}", f"box_delta_{level}")
    missing = [name for name in names if name not in outputs]
    if missing:
        raise RuntimeFailed(f"the net gave no {', '.join(missing)}; it gave {', '.join(sorted(outputs)) or 'nothing'}")
    logits, deltas = (outputs[name] for name in names)
    count = len(anchors)
    fit = logits.dim() == deltas.dim() == 4 and logits.shape[2:] == deltas.shape[2:] and len(logits) == len(deltas)
    if not fit or deltas.shape[1] != 4 * count or logits.shape[1] % count or logits.shape[1] == 0:
        raise RuntimeFailed(
            f"the net gave {names[0]} {tuple(logits.shape)} and {names[1]} {tuple(deltas.shape)}, which do not fit "
            f"{count} anchors a cell; convert the model again"
        )
    if not bool(logits.isfinite().all() and deltas.isfinite().all()):
        raise RuntimeFailed(f"the net gave NaN or infinity in {' or '.join(names)}")
    return logits, deltas


def _candidates(
    logits: Tensor, deltas: Tensor, anchors: Tensor, stride: float, settings: RetinaNetSettings
) -> tuple[Tensor, Tensor]:
    """The best of a level of one image: scores (n, K + 1), each of one class, and boxes (n, 4)."""
    count, (height, width) = len(anchors), logits.shape[1:]
    classes = logits.shape[0] // count
    flat = logits.sigmoid().flatten()
    best = _best(flat, settings.score_threshold, settings.topk_candidates)
    channel, cell = best // (height * width), best % (height * width)
    kind, label = channel // classes, channel % classes
    rows = torch.zeros(len(best), classes + 1)
    rows[torch.arange(len(best)), label] = flat[best]
    corners = torch.stack([cell % width, cell // width] * 2, dim=1).to(torch.float32) * stride
    moves = deltas.reshape(count, 4, height * width)[kind, :, cell]
    return rows, decode_deltas(anchors[kind] + corners, moves[:, None], list(settings.box_weights), 0)[:, 0]


def _best(scores: Tensor, threshold: float, most: int) -> Tensor:
    """Where the highest scores over the threshold are, at most so many, falling; of equal ones the first."""
    above = (scores > threshold).nonzero()[:, 0]
    if len(above) > most > 0:
        # Not all have to be sorted: of an untrained model these are millions.
        least = scores[above].topk(most).values[-1]
        above = above[scores[above] >= least]
    return above[scores[above].sort(descending=True, stable=True).indices[:most]]
