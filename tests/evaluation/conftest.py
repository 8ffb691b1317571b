"""Ground truth written for a test."""

import json

import numpy as np
import pytest
from PIL import Image

from roastery.data.panoptic import load_panoptic

CATEGORIES = {10: ("cat", 1), 20: ("sky", 0), 30: ("dog", 1), 40: ("grass", 0)}


@pytest.fixture(scope="session")
def write_truth(tmp_path_factory):
    """`write_truth((ids, segments, labels), ...)`: the ground truth of images 1, 2, ..., and of cats, dogs, sky, grass.

    `ids` (H, W) are segments' ids, `segments` says the category of each, or ("crowd", category); `labels` (H, W).
    """

    def write(*images, categories=CATEGORIES):
        folder = tmp_path_factory.mktemp("truth")
        content = {
            "images": [],
            "annotations": [],
            "categories": [{"id": id, "name": name, "isthing": thing} for id, (name, thing) in categories.items()],
        }
        for image_id, (ids, segments, labels) in enumerate(images, start=1):
            height, width = np.shape(ids)
            channels = np.stack([np.asarray(ids) >> shift & 255 for shift in (0, 8, 16)], axis=-1)
            for kind, pixels in (("masks", channels), ("labels", np.asarray(labels))):
                (folder / kind).mkdir(exist_ok=True)
                Image.fromarray(pixels.astype(np.uint8)).save(folder / kind / f"{image_id}.png")
            size = {"height": height, "width": width}
            content["images"].append({"id": image_id, "file_name": f"{image_id}.jpg", **size})
            crowds = {id for id, category in segments.items() if isinstance(category, tuple)}
            info = [
                {"id": int(id), "category_id": category[1] if id in crowds else category, "iscrowd": int(id in crowds)}
                for id, category in segments.items()
            ]
            content["annotations"].append({"image_id": image_id, "file_name": f"{image_id}.png", "segments_info": info})
        (folder / "a.json").write_text(json.dumps(content))
        return load_panoptic(folder / "a.json", folder / "masks", folder / "labels")

    return write
