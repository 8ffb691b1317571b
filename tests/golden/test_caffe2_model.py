"""Caffe2Model against detectron2: its detections on the golden images, and its AP beside the original's.

Sources: pytorch_outputs.npz (detectron2's own post-processed outputs) and metrics.json (its COCO AP), golden/README.md.
"""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from roastery import Caffe2Model, load_config
from roastery.caffe2.model import RuntimeName
from roastery.data.coco import load_coco
from roastery.data.preprocess import resize_shortest_edge
from roastery.evaluation.coco import evaluate_coco
from roastery.evaluation.parity import REFERENCE, compare_instances
from roastery.evaluation.predict import detect
from roastery.reference.rcnn import ReferenceDetector
from roastery.sources.native import load_detector
from roastery.structures import Boxes, Instances

MODELS = ("faster_rcnn_fpn", "mask_rcnn_fpn")
RUNTIMES = ("torch", pytest.param("caffe2", marks=pytest.mark.caffe2))
ALLOWED_AP = 0.05


def _detectron2s(golden: Path, model: str, image: int, size: tuple[int, int]) -> Instances:
    outputs = np.load(golden / model / "pytorch_outputs.npz")
    found = Instances(
        size,
        pred_boxes=Boxes(torch.from_numpy(outputs[f"{image}/pred_boxes"])),
        scores=torch.from_numpy(outputs[f"{image}/scores"]),
        pred_classes=torch.from_numpy(outputs[f"{image}/pred_classes"]),
    )
    if f"{image}/pred_masks" in outputs:
        masks = np.unpackbits(outputs[f"{image}/pred_masks"], axis=2)[:, :, : size[1]]
        found.pred_masks = torch.from_numpy(masks.astype(bool))
    return found


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("model", MODELS)
def test_it_detects_in_the_golden_images_what_detectron2_detected(
    golden: Path, shapes: Path, converted: Callable[[str], Path], model: str, runtime: RuntimeName
) -> None:
    config = load_config(shapes / model / "config.yaml")
    images = np.load(golden / model / "caffe2_io.npz")
    with Caffe2Model.load_protobuf(converted(model), runtime=runtime) as caffe2_model:
        for image in range(4):
            bgr = images[f"{image}/image_bgr"]
            height, width, _ = bgr.shape
            resized = resize_shortest_edge(bgr, config.INPUT.MIN_SIZE_TEST, config.INPUT.MAX_SIZE_TEST)
            chw = torch.from_numpy(resized.transpose(2, 0, 1).astype(np.float32))
            (output,) = caffe2_model([{"image": chw, "height": height, "width": width}])
            expected = _detectron2s(golden, model, image, (height, width))
            report = compare_instances(expected, output["instances"], REFERENCE)
            assert report.differences == (), f"image {image}"
            assert output["instances"].pred_classes.tolist() == expected.pred_classes.tolist(), "detectron2's order"


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("model", MODELS)
def test_its_ap_is_the_originals(
    golden: Path, shapes: Path, converted: Callable[[str], Path], model: str, runtime: RuntimeName
) -> None:
    config = load_config(shapes / model / "config.yaml")
    val = load_coco("val", shapes / "val" / "images", shapes / "val" / "instances.json")
    ids = [image.id for image in val.images]
    golden_ap = json.loads((golden / model / "metrics.json").read_text())["ap_pytorch"]
    original = ReferenceDetector(config, load_detector(config, shapes / model / "model_final.pkl"))
    with Caffe2Model.load_protobuf(converted(model), runtime=runtime) as caffe2_model:
        before, after = (detect(each, val, ids, config, val.category_ids) for each in (original, caffe2_model))
    assert before.failures == after.failures == ()
    reference_ap, converted_ap = (evaluate_coco(val, found.detections, tuple(golden_ap)) for found in (before, after))
    for iou_type, figures in golden_ap.items():
        assert reference_ap[iou_type]["AP"] == pytest.approx(figures["AP"], abs=ALLOWED_AP)
        assert converted_ap[iou_type]["AP"] == pytest.approx(reference_ap[iou_type]["AP"], abs=ALLOWED_AP)
