"""What a model found in an image, as a picture."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from roastery.data.vocabulary import Vocabulary
from roastery.drawing.colours import shade, stuff_colour, thing_colour
from roastery.drawing.detections import DrawnDetection, draw_detections
from roastery.drawing.labels import label_text
from roastery.drawing.scale import readable_size
from roastery.drawing.segments import DrawnSegment, draw_segments
from roastery.prediction.as_instances import as_instances
from roastery.structures import Instances


def draw_found(
    pixels: NDArray[np.uint8], found: Mapping[str, Any], vocabulary: Vocabulary, threshold: float
) -> tuple[Image.Image, int]:
    """A picture of an image with what was found in it, and how many detections or segments are drawn.

    Args:
        pixels: the image, (H, W, 3) RGB.
        found: what the model gave, seen as `as_instances` sees it; of a panoptic model "panoptic_seg" is drawn instead.
        threshold: detections and segments of a lower score are left out; stuff has none.

    Raises:
        DatasetError: a class that the vocabulary does not have.
    """
    image = Image.fromarray(pixels)
    size = readable_size(image.size)
    if "panoptic_seg" in found:
        ids, infos = found["panoptic_seg"]
        segments = _segments(infos, vocabulary, threshold)
        return draw_segments(image, ids.numpy(), segments, size), len(segments)
    instances, named = as_instances(found, vocabulary)
    detections = _detections(instances[instances.scores >= threshold], named)
    return draw_detections(image, detections, size), len(detections)


def panoptic_png(ids: Tensor) -> Image.Image:
    """A map of segment ids (H, W) in COCO's encoding: id = R + 256 G + 65536 B."""
    numbers = ids.numpy().astype(np.uint32)
    return Image.fromarray(np.stack([numbers, numbers >> 8, numbers >> 16], axis=-1).astype(np.uint8))


def _detections(instances: Instances, vocabulary: Vocabulary) -> list[DrawnDetection]:
    """By falling score."""
    classes, scores = instances.pred_classes.tolist(), instances.scores.tolist()
    boxes = instances.pred_boxes.tensor.tolist()
    return [
        DrawnDetection(
            text=label_text(vocabulary.name(classes[index]), scores[index]),
            colour=thing_colour(classes[index]),
            box=boxes[index],
            mask=instances.pred_masks[index].numpy() if instances.has("pred_masks") else None,
            keypoints=instances.pred_keypoints[index].numpy() if instances.has("pred_keypoints") else None,
            bones=vocabulary.bones_of(classes[index]),
        )
        for index in sorted(range(len(scores)), key=lambda index: -scores[index])
    ]


def _segments(infos: Sequence[Mapping[str, Any]], vocabulary: Vocabulary, threshold: float) -> list[DrawnSegment]:
    drawn = []
    seen: Counter[int] = Counter()
    for info in infos:
        index, score = int(info["category_id"]), info.get("score")
        if not info["isthing"]:
            # detectron2's stuff of index 0 is what is a thing: no segment has it.
            name, colour = vocabulary.stuff_name(index), stuff_colour(max(index - 1, 0))
            drawn.append(DrawnSegment(int(info["id"]), label_text(name), colour, is_thing=False))
        elif score is None or score >= threshold:
            colour = shade(thing_colour(index), seen[index])
            seen[index] += 1
            text = label_text(vocabulary.name(index), score)
            drawn.append(DrawnSegment(int(info["id"]), text, colour, is_thing=True))
    return drawn
