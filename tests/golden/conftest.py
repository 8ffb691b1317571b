"""What the comparisons with detectron2 share: golden images as a model takes them, and what detectron2 gave."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from yacs.config import CfgNode

from roastery.config import measures
from roastery.data.coco import CocoDataset
from roastery.data.dataset import load_dataset
from roastery.data.preprocess import resize_shortest_edge
from roastery.evaluation.predict import Detected
from roastery.evaluation.side_by_side import measure_found
from roastery.spec import load_datasets, load_models
from roastery.structures import Boxes, Instances

GoldenCase = Callable[[str, int, CfgNode], tuple[dict[str, Any], dict[str, Any]]]
CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.fixture(scope="session")
def golden_case(golden: Path) -> GoldenCase:
    """`golden_case(model, image, config)`: the input dict of an image, and detectron2's own post-processed answer.

    Sources: `<image>/image_bgr` of caffe2_io.npz, pytorch_outputs.npz, and `panoptic_segments_<image>` of metrics.json.
    """

    def load(model: str, image: int, config: CfgNode) -> tuple[dict[str, Any], dict[str, Any]]:
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
        if f"{image}/pred_keypoints" in outputs:
            found.pred_keypoints = torch.from_numpy(outputs[f"{image}/pred_keypoints"])
        answer: dict[str, Any] = {"instances": found}
        if f"{image}/panoptic_seg" in outputs:
            segments = json.loads((golden / model / "metrics.json").read_text())[f"panoptic_segments_{image}"]
            answer |= {"labels": outputs[f"{image}/sem_seg_argmax"], "panoptic_seg": outputs[f"{image}/panoptic_seg"]}
            answer["segments"] = segments
        return {"image": chw, "height": height, "width": width}, answer

    return load


@pytest.fixture(scope="session")
def dataset_of() -> Callable[[str], CocoDataset]:
    """The dataset that a demo model is registered with."""
    models, datasets = load_models(CONFIGS / "models"), load_datasets(CONFIGS / "datasets")
    return lambda model: load_dataset(datasets[models[model].dataset])


@pytest.fixture(scope="session")
def figures_of() -> Callable[[CocoDataset, Detected, CfgNode], dict[str, dict[str, float]]]:
    """Every figure of what a model found in all images."""
    return lambda dataset, found, config: (
        measure_found(dataset, found.detections, found.segments, measures(config)).metrics
    )


@pytest.fixture(scope="session")
def hold_segments() -> Callable[[Mapping[str, Any], Mapping[str, Any]], None]:
    """Fails where a panoptic answer is not the golden one."""
    return _hold_segments


def _hold_segments(expected: Mapping[str, Any], answer: Mapping[str, Any]) -> None:
    """A panoptic answer is detectron2's: every label and segment, but for pixels that lie on a threshold."""
    ids, segments = answer["panoptic_seg"]
    labels = answer["sem_seg"].argmax(dim=0).numpy()
    assert (labels != expected["labels"]).mean() <= 1e-4
    assert (ids.numpy() != expected["panoptic_seg"]).mean() <= 1e-4
    assert len(segments) == len(expected["segments"]) > 0
    for mine, theirs in zip(segments, expected["segments"], strict=True):
        assert mine.keys() == theirs.keys()
        assert [mine[name] for name in ("id", "isthing", "category_id")] == [
            theirs[name] for name in ("id", "isthing", "category_id")
        ]
        assert mine.get("score", 0.0) == pytest.approx(theirs.get("score", 0.0), abs=1e-3)
        assert mine.get("area", 0) == pytest.approx(theirs.get("area", 0), abs=8)
