"""What the comparisons with detectron2 share: a golden image as a model takes it, and what detectron2 gave for it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from yacs.config import CfgNode

from roastery.data.preprocess import resize_shortest_edge
from roastery.structures import Boxes, Instances

GoldenCase = Callable[[str, int, CfgNode], tuple[dict[str, Any], Instances]]


@pytest.fixture(scope="session")
def golden_case(golden: Path) -> GoldenCase:
    """`golden_case(model, image, config)`: the input dict of an image, and detectron2's own post-processed output.

    Sources: `<image>/image_bgr` of caffe2_io.npz, and pytorch_outputs.npz.
    """

    def load(model: str, image: int, config: CfgNode) -> tuple[dict[str, Any], Instances]:
        bgr = np.load(golden / model / "caffe2_io.npz")[f"{image}/image_bgr"]
        height, width, _ = bgr.shape
        resized = resize_shortest_edge(bgr, config.INPUT.MIN_SIZE_TEST, config.INPUT.MAX_SIZE_TEST)
        chw = torch.from_numpy(resized.transpose(2, 0, 1).astype(np.float32))
        outputs = np.load(golden / model / "pytorch_outputs.npz")
        found = Instances(
            (height, width),
            pred_boxes=Boxes(torch.from_numpy(outputs[f"{image}/pred_boxes"])),
            scores=torch.from_numpy(outputs[f"{image}/scores"]),
            pred_classes=torch.from_numpy(outputs[f"{image}/pred_classes"]),
        )
        if f"{image}/pred_masks" in outputs:
            masks = np.unpackbits(outputs[f"{image}/pred_masks"], axis=2)[:, :, :width]
            found.pred_masks = torch.from_numpy(masks.astype(bool))
        return {"image": chw, "height": height, "width": width}, found

    return load
