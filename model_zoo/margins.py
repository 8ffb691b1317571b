"""How narrowly a reference decides: whatever would come out otherwise if a number were a little different.

Two kernels' float32 results differ in their last digits. Where a detection hangs on those, models that are equal give
different detections, and a test of them proves nothing.
"""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.overrides import TorchFunctionMode

import roastery.reference.build  # noqa: F401  (brings every module of the reference)
from roastery.evaluation.parity import REFERENCE
from roastery.postprocess.instances import resize_to_original
from roastery.postprocess.panoptic import PanopticSettings, panoptic_answer
from roastery.reference import nms, pooler
from roastery.structures import Instances

LEAST: Mapping[str, float] = {
    # A probability from its threshold, in parts of the threshold.
    "threshold": 2e-3,
    # A box's side from none, pixels.
    "side": 0.01,
    # Logits, or logarithms of probabilities: the last that is taken from the first that is not.
    "top": 4e-4,
    # Likewise: two boxes of which one suppresses the other.
    "order": 2e-4,
    # An IoU from NMS's threshold.
    "iou": 2e-4,
    # A box's place between two levels, 1 from level to level.
    "level": 1e-3,
    # Points in a bin, or pixels over which a heatmap is stretched, from a whole number.
    "points": 1e-4,
    # A heatmap's peak from its second highest pixel, in parts of the peak.
    "peak": 1e-5,
    # IoU of a mask with itself, its map moved by `_MOVED`, from that with which two masks are the same.
    "mask": 1e-3,
    # Of a panoptic answer: a thing's score from the least, the covered part of its mask from the most, a class's pixels
    # from the fewest.
    "confidence": 1e-3,
    "covered": 2e-3,
    "pixels": 20,
}
"""Kind of decision to the least distance."""

_MOVED = 5e-5


@contextmanager
def watched(times: float = 1.0) -> Iterator["Decisions"]:
    """Watch what references decide: `nearest` and `too_near` of what this gives.

    Args:
        times: how many times the least distance a decision must have.
    """
    decisions = Decisions(times)
    own: dict[str, Callable[..., Any]] = {
        "grouped_nms": decisions.grouped_nms,
        "assign_levels": decisions.assign_levels,
        "resize_to_original": decisions.resize_to_original,
        "panoptic_answer": decisions.panoptic_answer,
    }
    with _replaced(own), decisions:
        yield decisions


class Decisions(TorchFunctionMode):
    """The nearest of each kind of decision that a reference takes while this is entered: `nearest`, kind to distance.

    Thresholds, cuts of what is ranked, numbers of points and peaks are seen where PyTorch is asked for them; NMS and
    the choice of levels in the reference's own functions.
    """

    def __init__(self, times: float) -> None:
        super().__init__()
        self._times = times
        self.nearest: dict[str, float] = {}
        self._ranked: tuple[Tensor, Tensor] | None = None

    def too_near(self) -> list[str]:
        """What was decided by less than so many times `LEAST`, in a line each."""
        return [
            f"{kind}: {distance:.1e}, less than {self._times * LEAST[kind]:.1e}"
            for kind, distance in sorted(self.nearest.items())
            if distance < self._times * LEAST[kind]
        ]

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        match getattr(func, "__name__", ""):
            case "gt" | "__gt__" if isinstance(args[1], int | float):
                self._threshold(args[0], float(args[1]))
            case "topk":
                self._cut(_levels(args[0]).sort(descending=True).values, args[1])
            case "argsort" if kwargs.get("descending"):
                self._ranked = result, args[0]
            case "__getitem__" if self._ranked and args[0] is self._ranked[0] and isinstance(args[1], slice):
                falling = _levels(self._ranked[1])[self._ranked[0]]
                self._cut(falling, len(falling) if args[1].stop is None else args[1].stop)
            case "ceil":
                # What is a whole number is of a box that was cut at whole pixels.
                self._note("points", (args[0] - args[0].round()).abs()[args[0] != args[0].round()])
            case "max" if "dim" in kwargs and args[0].shape[-1] > 1:
                first, second = args[0].topk(2, dim=-1).values.unbind(-1)
                self._note("peak", (first - second) / first.abs())
        return result

    def _note(self, kind: str, distances: Tensor) -> None:
        # Two boxes without area have an IoU of NaN, which suppresses nothing.
        distances = distances[~distances.isnan()]
        if distances.numel():
            self.nearest[kind] = min(self.nearest.get(kind, float("inf")), float(distances.min()))

    def _threshold(self, values: Tensor, bound: float) -> None:
        if bound == 0:
            # A side of 0 is of a box outside of the image.
            self._note("side", values[values > 0])
        else:
            self._note("threshold", (values / bound - 1).abs())

    def _cut(self, falling: Tensor, most: int) -> None:
        if most < len(falling):
            self._note("top", falling[most - 1] - falling[most])

    def assign_levels(self, boxes: Tensor, lowest: int, highest: int) -> Tensor:
        sides = (boxes[:, 2:] - boxes[:, :2]).double()
        places = pooler.CANONICAL_LEVEL + (sides.prod(dim=1).sqrt() / pooler.CANONICAL_SIZE + 1e-8).log2()
        for border in range(lowest + 1, highest + 1):
            self._note("level", (places - border).abs())
        return _ASSIGN_LEVELS(boxes, lowest, highest)

    def grouped_nms(self, boxes: Tensor, scores: Tensor, groups: Tensor, threshold: float, most: int) -> Tensor:
        # In numpy, so that none of these comparisons is taken for the reference's.
        corners, heights, labels = boxes.numpy().astype(np.float64), _levels(scores).numpy(), groups.numpy()
        survivors = []
        for group in np.unique(labels):
            left = np.nonzero(labels == group)[0]
            left = left[np.argsort(-heights[left], kind="stable")]
            while len(left):
                best, left = left[0], left[1:]
                survivors.append(heights[best])
                with np.errstate(invalid="ignore"):
                    overlaps = _overlaps(corners[best], corners[left])
                self._note("iou", torch.from_numpy(np.abs(overlaps - threshold)))
                self._note("order", torch.from_numpy(heights[best] - heights[left][overlaps > threshold]))
                left = left[~(overlaps > threshold)]
        if most >= 0:
            self._cut(torch.from_numpy(np.sort(survivors)[::-1].copy()), most)
        return _GROUPED_NMS(boxes, scores, groups, threshold, most)

    def resize_to_original(self, instances: Instances, height: int, width: int) -> Instances:
        resized = resize_to_original(instances, height, width)
        if resized.has("pred_masks"):
            # Moved so many times as far, too: of a small mask, one pixel on either side of its edge is all or nothing.
            for moved in (-self._times * _MOVED, self._times * _MOVED):
                fields = instances.get_fields()
                other = Instances(instances.image_size, **{**fields, "pred_masks": fields["pred_masks"] + moved})
                masks, others = resized.pred_masks, resize_to_original(other, height, width).pred_masks
                ious = (masks & others).sum(dim=(1, 2)) / (masks | others).sum(dim=(1, 2))
                self._note("mask", ious - REFERENCE.mask_iou)
        return resized

    def panoptic_answer(
        self, instances: Instances, logits: Tensor, seen: tuple[int, int], settings: PanopticSettings
    ) -> dict[str, Any]:
        answer = panoptic_answer(instances, logits, seen, settings)
        scores = instances.scores.sort(descending=True)
        self._note("confidence", (scores.values - settings.confidence_threshold).abs())
        self._note("order", -_levels(scores.values).diff())
        taken = torch.zeros(instances.image_size, dtype=torch.bool)
        for score, index in zip(scores.values.tolist(), scores.indices.tolist(), strict=True):
            mask = instances.pred_masks[index]
            if score < settings.confidence_threshold or not mask.any():
                continue
            covered = (mask & taken).sum() / mask.sum()
            self._note("covered", (covered - settings.overlap_threshold).abs()[None])
            if covered.item() <= settings.overlap_threshold:
                taken |= mask
        labels = answer["sem_seg"].argmax(dim=0)[~taken]
        areas = labels[labels != 0].bincount()
        self._note("pixels", (areas - settings.stuff_area_limit).abs().float())
        return answer


_GROUPED_NMS = nms.grouped_nms
_ASSIGN_LEVELS = pooler.assign_levels


def _levels(scores: Tensor) -> Tensor:
    """Logits as they are, and logarithms of probabilities: what an error is of one size in, however small the score."""
    return scores.log() if bool((scores >= 0).all() and (scores <= 1).all()) else scores


def _overlaps(box: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """IoU of a box (4,) with others (n, 4)."""
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    shared = np.maximum(sides, 0).prod(axis=1)
    areas = (others[:, 2:] - others[:, :2]).prod(axis=1)
    return np.asarray(shared / ((box[2:] - box[:2]).prod() + areas - shared))


@contextmanager
def _replaced(functions: Mapping[str, Callable[..., Any]]) -> Iterator[None]:
    """Other functions under these names, wherever a module of the reference has them."""
    modules = [module for name, module in sys.modules.items() if name.startswith("roastery.reference.")]
    places = [
        (module, name, getattr(module, name)) for module in modules for name in functions if hasattr(module, name)
    ]
    missing = functions.keys() - {name for _, name, _ in places}
    if missing:
        raise AttributeError(
            f"no module of the reference has {', '.join(sorted(missing))}: their decisions would go unseen"
        )
    for module, name, _ in places:
        setattr(module, name, functions[name])
    try:
        yield
    finally:
        for module, name, original in places:
            setattr(module, name, original)
