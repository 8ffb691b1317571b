"""Pictures for a report: what the original and the converted model found in an image, side by side."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from pycocotools import mask as coco_mask

from roastery.data.coco import CocoDataset, ImageRecord
from roastery.data.preprocess import read_image
from roastery.drawing.colours import INK, Colour, thing_colour
from roastery.drawing.detections import DrawnDetection, draw_detections
from roastery.drawing.labels import label_text
from roastery.drawing.scale import fitted_size, pens
from roastery.report.files import STEM
from roastery.report.names import RUNTIME_NAMES, runtime_name
from roastery.results import Finder

Results = Sequence[Mapping[str, Any]]
"""Detections in COCO's result format: image_id, category_id, bbox (xywh, pixels), score and perhaps
segmentation (RLE) and keypoints (x, y, score of each, from the middle of the first pixel). An RPN's proposals have no
category, and score a logit."""

SHOWN_SCORE = 0.5
"""Detections below are not drawn: what nobody acts on would hide the rest. They do count as disagreement."""

PROPOSALS = 20
"""Of the hundreds of proposals in an image the best so many are looked at."""
_PROPOSAL = -(1 << 63) - 1
"""The category of a proposal: no dataset can have it."""

_PANEL_SIDE, _NARROWEST = 360, 220
_HEADER, _GAP = 26, 8
_BACKGROUND = (255, 255, 255)


@dataclass(frozen=True)
class Comparison:
    """A picture, the image that it shows, and how far apart the models are there: 0 is not at all."""

    path: Path
    file: str
    disagreement: float


def draw_comparisons(
    directory: Path,
    dataset: CocoDataset,
    image_ids: Sequence[int],
    results: Mapping[Finder, Results],
    count: int = 4,
) -> list[Comparison]:
    """Draw the images in which the models disagree most as `report-1.png`, `report-2.png`, ... in a folder.

    Args:
        image_ids: the images that were evaluated.
        results: detections of "original" and of the converted model by runtime ("torch", "caffe2"). They may be read
            when they are asked for: the original's and one runtime's are in memory at a time.
    """
    everyone: tuple[Finder, ...] = ("original", *RUNTIME_NAMES)
    finders = [finder for finder in everyone if finder in [*results]]
    original = _by_image(results[finders[0]])
    worst = dict.fromkeys(image_ids, 0.0)
    for finder in finders[1:]:
        found = _by_image(results[finder])
        for image_id in image_ids:
            apart = disagreement(original.get(image_id, []), found.get(image_id, []))
            worst[image_id] = max(worst[image_id], apart)
        del found  # Before the next finder's come.
    # Rounded, so that noise does not choose: of images that agree, one with much in it shows more.
    measured = sorted(
        (-round(apart, 3), -len(original.get(image_id, [])), image_id) for image_id, apart in worst.items()
    )
    chosen = measured[:count]
    kept = {image_id: original.get(image_id, []) for _, _, image_id in chosen}
    shown = {finders[0]: kept}
    del original
    for finder in finders[1:]:
        shown[finder] = _by_image(row for row in results[finder] if row["image_id"] in kept)
    records = {record.id: record for record in dataset.images}
    names = {**dict(zip(dataset.category_ids, dataset.class_names, strict=True)), _PROPOSAL: "proposal"}
    comparisons = []
    for number, (negative, _, image_id) in enumerate(chosen, start=1):
        record = records[image_id]
        panels = {finder: found.get(image_id, []) for finder, found in shown.items()}
        path = directory / f"{STEM}-{number}.png"
        _draw(record, panels, names).save(path, optimize=True)
        comparisons.append(Comparison(path, record.path.name, -negative))
    return comparisons


def disagreement(expected: Results, actual: Results) -> float:
    """How far apart two models' detections of one image are; 0 where they are the same.

    Each detection is paired with the one of its category that it overlaps most, the highest score first. A pair adds
    1 - IoU (of the masks where both have one, else of the boxes), weighed by the score, and the scores' difference; one
    that finds no partner with an IoU of at least 0.5 adds its score.
    """
    ours, theirs = _by_category(expected), _by_category(actual)
    return sum((_apart(ours.get(category, []), theirs.get(category, [])) for category in {**ours, **theirs}), 0.0)


def _apart(expected: Results, actual: Results) -> float:
    """Of detections of one category."""
    total = 0.0
    surest_first = sorted(expected, key=lambda detection: -detection["score"])
    left = [*range(len(actual))]
    for found, overlaps in zip(surest_first, _ious(surest_first, actual), strict=True):
        partner = max(left, key=overlaps.__getitem__, default=None)
        if partner is None or overlaps[partner] < 0.5:
            total += found["score"]
        else:
            left.remove(partner)
            total += (1.0 - overlaps[partner]) * found["score"] + abs(found["score"] - actual[partner]["score"])
    return total + sum(float(actual[other]["score"]) for other in left)


def _ious(expected: Results, actual: Results) -> NDArray[np.float64]:
    """Of each pair, (n, m): of the masks where both have one, else of the boxes."""
    if not expected or not actual:
        return np.zeros((len(expected), len(actual)))
    crowds = [0] * len(actual)
    ours, theirs = (np.array([each["bbox"] for each in found], float) for found in (expected, actual))
    overlaps: NDArray[np.float64] = coco_mask.iou(ours, theirs, crowds)
    rows, columns = ([i for i, each in enumerate(found) if "segmentation" in each] for found in (expected, actual))
    if rows and columns:
        masks = [_rle(expected[row]) for row in rows], [_rle(actual[column]) for column in columns]
        overlaps[np.ix_(rows, columns)] = coco_mask.iou(*masks, crowds[: len(columns)])
    return overlaps


def _rle(detection: Mapping[str, Any]) -> dict[str, Any]:
    segmentation = detection["segmentation"]
    counts = segmentation["counts"]
    return {"size": segmentation["size"], "counts": counts.encode() if isinstance(counts, str) else counts}


def _by_category(found: Results) -> dict[int, list[Mapping[str, Any]]]:
    grouped: dict[int, list[Mapping[str, Any]]] = {}
    for detection in found:
        grouped.setdefault(detection["category_id"], []).append(detection)
    return grouped


def _by_image(found: Iterable[Mapping[str, Any]]) -> dict[int, list[Mapping[str, Any]]]:
    grouped: dict[int, list[Mapping[str, Any]]] = {}
    for detection in found:
        grouped.setdefault(detection["image_id"], []).append(detection)
    return {image_id: _with_categories(of_image) for image_id, of_image in grouped.items()}


def _with_categories(of_image: list[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Detections as they are; of proposals the best, each with a category and the probability that its logit says."""
    if "category_id" in of_image[0]:
        return of_image
    best = sorted(of_image, key=lambda proposal: -proposal["score"])[:PROPOSALS]
    return [{**each, "category_id": _PROPOSAL, "score": 0.5 + 0.5 * math.tanh(each["score"] / 2)} for each in best]


def _draw(record: ImageRecord, panels: Mapping[Finder, Results], names: Mapping[int, str]) -> Image.Image:
    image = Image.fromarray(read_image(record.path, "RGB"))
    size = fitted_size(image.size, _PANEL_SIDE)
    colours = {category: thing_colour(index) for index, category in enumerate(names)}
    # A narrow image's title still has room.
    column = max(size[0], _NARROWEST)
    width = len(panels) * column + (len(panels) - 1) * _GAP
    canvas = Image.new("RGB", (width, size[1] + _HEADER), _BACKGROUND)
    for index, (title, found) in enumerate(panels.items()):
        left = index * (column + _GAP)
        surest_first = sorted(found, key=lambda detection: -detection["score"])
        shown = [_drawn(each, names, colours) for each in surest_first if each["score"] >= SHOWN_SCORE]
        canvas.paste(draw_detections(image, shown, size), (left, _HEADER))
        text = f"{runtime_name(title)}: {len(shown)} of {len(found)} shown"
        ImageDraw.Draw(canvas).text((left + 2, 4), text, fill=INK, font=pens(size).font)
    return canvas


def _drawn(detection: Mapping[str, Any], names: Mapping[int, str], colours: Mapping[int, Colour]) -> DrawnDetection:
    category = detection["category_id"]
    x, y, width, height = detection["bbox"]
    mask = coco_mask.decode(_rle(detection)).astype(bool) if "segmentation" in detection else None
    keypoints = None
    if "keypoints" in detection:
        # COCO counts from the middle of the first pixel.
        keypoints = np.reshape(np.array(detection["keypoints"], np.float32), (-1, 3)) + [0.5, 0.5, 0.0]
    return DrawnDetection(
        text=label_text(names[category], detection["score"]),
        colour=colours[category],
        box=(x, y, x + width, y + height),
        mask=mask,
        keypoints=keypoints,
    )
