"""Pictures for a report: what the original and the converted model found in an image, side by side."""

import colorsys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from pycocotools import mask as coco_mask

from roastery.data.coco import CocoDataset, ImageRecord
from roastery.data.preprocess import read_image
from roastery.report.files import STEM
from roastery.report.names import RUNTIME_NAMES, runtime_name
from roastery.results import Target

Results = Sequence[Mapping[str, Any]]
"""Detections in COCO's result format: image_id, category_id, bbox (xywh, pixels), score, segmentation (RLE)."""

SHOWN_SCORE = 0.5
"""Detections below are not drawn: what nobody acts on would hide the rest. They do count as disagreement."""

_Corners = tuple[float, float, float, float]
"""Left, top, right, bottom, in pixels of the panel."""

_PANEL_SIDE, _NARROWEST = 360, 220
_HEADER, _GAP, _FONT_SIZE, _LINE = 26, 8, 14, 2
_TINT = 0.4
_BACKGROUND, _INK, _LIGHT = (255, 255, 255), (20, 20, 20), (255, 255, 255)
_BRIGHT = 380
"""A colour whose channels add up to more has dark writing on it."""
# Okabe and Ito's colours, which the colour-blind tell apart; further classes go round the hues.
_COLOURS = [(230, 159, 0), (0, 114, 178), (0, 158, 115), (204, 121, 167), (213, 94, 0), (86, 180, 233)]


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
    results: Mapping[Target, Results],
    count: int = 4,
) -> list[Comparison]:
    """Draw the images in which the models disagree most as `report-1.png`, `report-2.png`, ... in a folder.

    Args:
        image_ids: the images that were evaluated.
        results: detections of "original" and of the converted model by runtime ("torch", "caffe2").
    """
    targets: tuple[Target, ...] = ("original", *RUNTIME_NAMES)
    grouped = {target: _by_image(results[target]) for target in targets if target in results}
    original, *converted = grouped
    records = {record.id: record for record in dataset.images}
    measured = []
    for image_id in image_ids:
        theirs = grouped[original].get(image_id, [])
        worst = max((disagreement(theirs, grouped[name].get(image_id, [])) for name in converted), default=0.0)
        # Rounded, so that noise does not choose: of images that agree, one with much in it shows more.
        measured.append((-round(worst, 3), -len(theirs), image_id))
    names = dict(zip(dataset.category_ids, dataset.class_names, strict=True))
    comparisons = []
    for number, (negative, _, image_id) in enumerate(sorted(measured)[:count], start=1):
        record = records[image_id]
        panels = {name: found.get(image_id, []) for name, found in grouped.items()}
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
    total = 0.0
    left = list(actual)
    for found in sorted(expected, key=lambda detection: -detection["score"]):
        rivals = [other for other in left if other["category_id"] == found["category_id"]]
        partner = max(rivals, key=lambda other: _iou(found, other), default=None)
        overlap = 0.0 if partner is None else _iou(found, partner)
        if partner is None or overlap < 0.5:
            total += found["score"]
        else:
            left.remove(partner)
            total += (1.0 - overlap) * found["score"] + abs(found["score"] - partner["score"])
    return total + sum(float(other["score"]) for other in left)


def _iou(one: Mapping[str, Any], other: Mapping[str, Any]) -> float:
    if "segmentation" in one and "segmentation" in other:
        return float(coco_mask.iou([_rle(one)], [_rle(other)], [0])[0, 0])
    return float(coco_mask.iou(np.array([one["bbox"]], float), np.array([other["bbox"]], float), [0])[0, 0])


def _rle(detection: Mapping[str, Any]) -> dict[str, Any]:
    segmentation = detection["segmentation"]
    counts = segmentation["counts"]
    return {"size": segmentation["size"], "counts": counts.encode() if isinstance(counts, str) else counts}


def _by_image(found: Results) -> dict[int, list[Mapping[str, Any]]]:
    grouped: dict[int, list[Mapping[str, Any]]] = {}
    for detection in found:
        grouped.setdefault(detection["image_id"], []).append(detection)
    return grouped


def _draw(record: ImageRecord, panels: Mapping[Target, Results], names: Mapping[int, str]) -> Image.Image:
    image = Image.fromarray(read_image(record.path, "RGB"))
    zoom = _PANEL_SIDE / max(image.size)
    size = (round(image.width * zoom), round(image.height * zoom))
    colours = {category: _colour(index) for index, category in enumerate(names)}
    # A narrow image's title still has room.
    column = max(size[0], _NARROWEST)
    width = len(panels) * column + (len(panels) - 1) * _GAP
    canvas = Image.new("RGB", (width, size[1] + _HEADER), _BACKGROUND)
    font = ImageFont.load_default(_FONT_SIZE)
    for index, (title, found) in enumerate(panels.items()):
        left = index * (column + _GAP)
        shown = sorted((d for d in found if d["score"] >= SHOWN_SCORE), key=lambda detection: detection["score"])
        canvas.paste(_panel(image, size, zoom, shown, names, colours), (left, _HEADER))
        text = f"{runtime_name(title)}: {len(shown)} of {len(found)} shown"
        ImageDraw.Draw(canvas).text((left + 2, 4), text, fill=_INK, font=font)
    return canvas


def _panel(
    image: Image.Image,
    size: tuple[int, int],
    zoom: float,
    shown: Results,
    names: Mapping[int, str],
    colours: Mapping[int, tuple[int, int, int]],
) -> Image.Image:
    pixels = np.asarray(image.resize(size, Image.Resampling.BILINEAR), dtype=np.float32).copy()
    for detection in shown:
        if "segmentation" in detection:
            inside = _mask(detection, size)
            pixels[inside] = (1 - _TINT) * pixels[inside] + _TINT * np.array(colours[detection["category_id"]])
    panel = Image.fromarray(pixels.round().astype(np.uint8))
    draw = ImageDraw.Draw(panel)
    font = ImageFont.load_default(_FONT_SIZE)
    for detection in shown:
        box = _corners(detection, zoom)
        draw.rectangle(box, outline=colours[detection["category_id"]], width=_LINE)
    taken: list[_Corners] = []
    # The surest first: where labels are in each other's way, it has the better place.
    for detection in reversed(shown):
        text = f"{names[detection['category_id']]} {detection['score']:.2f}"
        _, _, text_width, text_height = font.getbbox(text)
        place = _place(_corners(detection, zoom), (text_width + 4, text_height + 3), size, taken)
        taken.append(place)
        colour = colours[detection["category_id"]]
        draw.rectangle(place, fill=colour)
        draw.text((place[0] + 2, place[1] + 1), text, fill=_INK if sum(colour) > _BRIGHT else _LIGHT, font=font)
    return panel


def _corners(detection: Mapping[str, Any], zoom: float) -> _Corners:
    x, y, width, height = (value * zoom for value in detection["bbox"])
    return x, y, max(x + width, x), max(y + height, y)


def _place(box: _Corners, label: tuple[float, float], size: tuple[int, int], taken: Sequence[_Corners]) -> _Corners:
    """Where a label of this size goes: over its box, else in it or under it, clear of others and in the picture."""
    left, top, right, bottom = box
    width, height = label
    places = [
        (min(max(x, 0), max(size[0] - width, 0)), min(max(y, 0), max(size[1] - height, 0)))
        for y in (top - height, top, bottom - height, bottom)
        for x in (left, right - width)
    ]
    corners = [(x, y, x + width, y + height) for x, y in places]
    free = [corner for corner in corners if not any(_overlap(corner, other) for other in taken)]
    return (free or corners)[0]


def _overlap(one: _Corners, other: _Corners) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _mask(detection: Mapping[str, Any], size: tuple[int, int]) -> NDArray[np.bool_]:
    mask = Image.fromarray(coco_mask.decode(_rle(detection)) * np.uint8(255))
    return np.asarray(mask.resize(size, Image.Resampling.NEAREST)) > 127


def _colour(index: int) -> tuple[int, int, int]:
    if index < len(_COLOURS):
        return _COLOURS[index]
    red, green, blue = colorsys.hsv_to_rgb(index * 0.618034 % 1.0, 0.75, 0.85)
    return round(red * 255), round(green * 255), round(blue * 255)
