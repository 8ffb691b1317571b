"""A dataset as large as COCO 2017's val, and what a model might find in it: simulated, no pixel and no net is real."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as mask_api

HEIGHT, WIDTH = 480, 640
CLASSES = 80
_POINTS = 30
"""Of a polygon: with them an annotation takes as many bytes as one of COCO's."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Simulated:
    """Where the dataset lies, and its objects by image id: (n, 5) category, x, y, width and height in pixels."""

    images: Path
    annotations: Path
    objects: Mapping[int, Array]


def write_dataset(folder: Path, images: int, annotations: int, seed: int = 0) -> Simulated:
    """Write the images, each a JPEG, and COCO's JSON of objects with boxes and polygons."""
    generator = np.random.default_rng(seed)
    files = folder / "images"
    files.mkdir(parents=True)
    for identity in range(1, images + 1):
        (files / f"{identity:012}.jpg").write_bytes(_jpeg(generator))
    owners = np.sort(generator.integers(1, images + 1, annotations))
    objects = _boxes(generator, annotations)
    content = {
        "images": [
            {"id": identity, "file_name": f"{identity:012}.jpg", "height": HEIGHT, "width": WIDTH}
            for identity in range(1, images + 1)
        ],
        "annotations": [
            _annotation(number, int(owner), each)
            for number, (owner, each) in enumerate(zip(owners, objects, strict=True), start=1)
        ],
        "categories": [{"id": identity, "name": f"class {identity:02}"} for identity in range(1, CLASSES + 1)],
    }
    path = folder / "instances.json"
    path.write_text(json.dumps(content))
    return Simulated(files, path, {identity: objects[owners == identity] for identity in range(1, images + 1)})


def found_in(dataset: Simulated, each: int, seed: int = 1) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """Image id and so many detections of it, as COCO results with masks.

    Each object is found a little off, with a high score; the rest is found where nothing is, with a low one.
    """
    generator = np.random.default_rng(seed)
    for image_id, objects in dataset.objects.items():
        near = objects.copy()
        near[:, 1:] += generator.normal(0, 4, near[:, 1:].shape)
        rows = np.concatenate([near, _boxes(generator, each)])[:each]
        rows[:, 3:] = rows[:, 3:].clip(2)
        scores = np.concatenate([generator.uniform(0.4, 1, len(near)), generator.uniform(0.05, 0.6, each)])[:each]
        masks = mask_api.frPyObjects([_outline(row[1:]).tolist() for row in rows], HEIGHT, WIDTH)
        yield (
            image_id,
            [
                {
                    "image_id": image_id,
                    "category_id": int(row[0]),
                    "bbox": row[1:].tolist(),
                    "score": float(score),
                    "segmentation": {"size": mask["size"], "counts": mask["counts"].decode("ascii")},
                }
                for row, score, mask in zip(rows, scores, masks, strict=True)
            ],
        )


def _jpeg(generator: np.random.Generator) -> bytes:
    pixels = np.empty((HEIGHT, WIDTH, 3), np.uint8)
    pixels[:] = generator.integers(0, 256, 3)
    written = BytesIO()
    Image.fromarray(pixels).save(written, "JPEG")
    return written.getvalue()


def _boxes(generator: np.random.Generator, count: int) -> Array:
    """(count, 5): a few classes are common and many rare; most objects small, as in COCO."""
    categories = np.minimum(generator.zipf(1.3, count), CLASSES)
    sizes = np.exp(generator.normal(4.0, 0.9, (count, 2))).clip(4, (WIDTH - 1, HEIGHT - 1))
    corners = generator.uniform(0, 1, (count, 2)) * ((WIDTH, HEIGHT) - sizes)
    return np.column_stack([categories, corners, sizes])


def _annotation(number: int, image_id: int, row: Array) -> dict[str, Any]:
    return {
        "id": number,
        "image_id": image_id,
        "category_id": int(row[0]),
        "bbox": row[1:].round(2).tolist(),
        "area": round(float(np.pi / 4 * row[3] * row[4]), 2),
        "iscrowd": 0,
        "segmentation": [_outline(row[1:]).round(2).tolist()],
    }


def _outline(box: Array) -> Array:
    """The ellipse in a box, as COCO's polygon x, y, x, y, ..."""
    angles = np.linspace(0, 2 * np.pi, _POINTS, endpoint=False)
    points = np.column_stack([np.cos(angles), np.sin(angles)]) / 2 + 0.5
    outline: Array = (box[:2] + points * box[2:]).ravel()
    return outline
