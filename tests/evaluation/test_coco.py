import json
import math

import numpy as np
import pytest
import torch
from pycocotools import mask as mask_api

from roastery.data.coco import load_coco
from roastery.errors import DatasetError
from roastery.evaluation.coco import evaluate_coco, measure_coco, to_coco_results
from roastery.structures import Boxes, Instances


@pytest.fixture(scope="module")
def val(shapes):
    return load_coco("shapes_val", shapes / "val" / "images", shapes / "val" / "instances.json")


@pytest.fixture(scope="module")
def perfect(val):
    """The annotations as detections."""
    annotations = json.loads(val.annotations.read_text())["annotations"]
    return [
        {"image_id": a["image_id"], "category_id": a["category_id"], "bbox": a["bbox"], "score": 1.0}
        | {"segmentation": a["segmentation"]}
        for a in annotations
    ]


def test_boxes_become_xywh_and_classes_their_categories():
    found = Instances(
        (20, 30),
        pred_boxes=Boxes(torch.tensor([[1.0, 2.0, 11.0, 6.0], [0.0, 0.0, 30.0, 20.0]])),
        scores=torch.tensor([0.75, 0.5]),
        pred_classes=torch.tensor([1, 0]),
    )
    assert to_coco_results(7, found, (4, 9)) == [
        {"image_id": 7, "category_id": 9, "bbox": [1.0, 2.0, 10.0, 4.0], "score": 0.75},
        {"image_id": 7, "category_id": 4, "bbox": [0.0, 0.0, 30.0, 20.0], "score": 0.5},
    ]
    assert found.pred_boxes.tensor[0].tolist() == [1.0, 2.0, 11.0, 6.0], "the instances are not changed"


def test_masks_survive_json():
    masks = torch.rand(3, 20, 30, generator=torch.Generator().manual_seed(0)) > 0.5
    found = Instances(
        (20, 30),
        pred_boxes=Boxes(torch.zeros(3, 4)),
        scores=torch.zeros(3),
        pred_classes=torch.zeros(3, dtype=torch.int64),
        pred_masks=masks,
    )
    results = json.loads(json.dumps(to_coco_results(1, found, (1,))))
    decoded = [mask_api.decode(result["segmentation"]).astype(bool) for result in results]
    np.testing.assert_array_equal(np.stack(decoded), masks.numpy())


def test_no_detection_is_no_result():
    found = Instances(
        (20, 30),
        pred_boxes=Boxes(torch.zeros(0, 4)),
        scores=torch.zeros(0),
        pred_classes=torch.zeros(0, dtype=torch.int64),
        pred_masks=torch.zeros(0, 20, 30, dtype=torch.bool),
    )
    assert to_coco_results(1, found, (1,)) == []


def test_a_class_without_a_category_is_refused():
    found = Instances(
        (20, 30),
        pred_boxes=Boxes(torch.zeros(1, 4)),
        scores=torch.zeros(1),
        pred_classes=torch.tensor([3]),
    )
    with pytest.raises(DatasetError, match="image 5: the model found class 3, but the dataset has 3 categories"):
        to_coco_results(5, found, (1, 2, 3))


def test_the_annotations_as_detections_have_ap_100_and_nothing_is_printed(val, perfect, capsys):
    metrics = evaluate_coco(val, perfect)
    for iou_type in ("bbox", "segm"):
        assert list(metrics[iou_type]) == [
            *("AP", "AP50", "AP75", "APs", "APm", "APl"),
            *("AP-circle", "AP-square", "AP-triangle"),
        ]
        assert math.isnan(metrics[iou_type]["APl"]), "no object of the dataset is large"
        assert all(value == pytest.approx(100.0) for name, value in metrics[iou_type].items() if name != "APl")
    assert capsys.readouterr() == ("", "")


def test_no_detection_at_all_has_ap_0(val, capsys):
    metrics = evaluate_coco(val, [])
    for iou_type in ("bbox", "segm"):
        assert metrics[iou_type]["AP"] == metrics[iou_type]["AP-circle"] == 0.0
        assert math.isnan(metrics[iou_type]["APl"])
    assert capsys.readouterr() == ("", "")


def test_a_class_that_is_never_found_has_ap_0_and_the_others_keep_theirs(val, perfect):
    metrics = evaluate_coco(val, [result for result in perfect if result["category_id"] != 2], ["bbox"])
    assert metrics["bbox"]["AP-square"] == 0.0
    assert metrics["bbox"]["AP-circle"] == pytest.approx(100.0)
    assert metrics["bbox"]["AP"] == pytest.approx(200 / 3)


def test_small_and_medium_masks_are_told_apart_by_their_own_area_not_their_boxs(val, perfect):
    # Source: detectron2 drops the boxes before it evaluates masks. A detection whose mask is small (500 pixels) though
    # its box is not (1600) must not count among the medium ones.
    mask = np.zeros((val.images[0].height, val.images[0].width), np.uint8, order="F")
    mask[10:35, 10:30] = 1
    encoded = mask_api.encode(mask)
    stray = {
        "image_id": val.images[0].id,
        "category_id": 1,
        "bbox": [10.0, 10.0, 40.0, 40.0],
        "score": 2.0,
        "segmentation": {**encoded, "counts": encoded["counts"].decode()},
    }
    metrics = evaluate_coco(val, [stray, *perfect])
    assert metrics["segm"]["APm"] == pytest.approx(100.0)
    assert metrics["segm"]["APs"] < 100.0
    assert metrics["bbox"]["APm"] < 100.0
    assert metrics["bbox"]["APs"] == pytest.approx(100.0)


def test_of_an_image_only_the_100_detections_of_highest_score_count(val, perfect):
    # 100 detections of nothing in the corner of each image, better and then worse scored than the true ones.
    nothing = [
        {"image_id": record.id, "category_id": category, "bbox": [0.0, 0.0, 1.0, 1.0]}
        for record in val.images
        for category in val.category_ids
        for _ in range(100)
    ]
    boxes = [{key: value for key, value in result.items() if key != "segmentation"} for result in perfect]
    hidden = evaluate_coco(val, [*boxes, *({**result, "score": 2.0} for result in nothing)], ["bbox"])
    assert hidden["bbox"]["AP"] == 0.0
    ignored = evaluate_coco(val, [*({**result, "score": 0.5} for result in nothing), *boxes], ["bbox"])
    assert ignored["bbox"]["AP"] == pytest.approx(100.0)


def test_the_results_are_not_changed(val, perfect):
    before = json.dumps(perfect)
    evaluate_coco(val, perfect)
    assert json.dumps(perfect) == before


def test_some_images_can_be_evaluated_alone(val, perfect):
    few = [record.id for record in val.images[:10]]
    found = [result for result in perfect if result["image_id"] in few]
    assert evaluate_coco(val, found, ["bbox"])["bbox"]["AP"] < 50.0
    assert evaluate_coco(val, found, ["bbox"], few)["bbox"]["AP"] == pytest.approx(100.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_id": 123456}, "detections for image 123456, which is not evaluated"),
        ({"category_id": 80}, r"detections of category 80, but it has \[1, 2, 3\]"),
        ({"score": math.nan}, "NaN or infinity"),
        ({"bbox": [0.0, 0.0, math.inf, 1.0]}, "NaN or infinity"),
    ],
)
def test_results_that_do_not_belong_here_are_refused(val, perfect, change, message):
    with pytest.raises(DatasetError, match=message):
        evaluate_coco(val, [*perfect, {**perfect[0], **change}])


def test_results_of_an_image_that_is_not_evaluated_are_refused(val, perfect):
    with pytest.raises(DatasetError, match="which is not evaluated"):
        evaluate_coco(val, perfect, ["bbox"], [val.images[0].id])


def test_an_image_that_the_dataset_does_not_have_cannot_be_evaluated(val):
    with pytest.raises(DatasetError, match="no image with id 123456"):
        evaluate_coco(val, [], ["bbox"], [123456])


@pytest.mark.parametrize("segmentation", [None, [], "absent"])
def test_masks_cannot_be_evaluated_on_objects_without_masks(shapes, tmp_path, segmentation):
    content = json.loads((shapes / "val" / "instances.json").read_text())
    content["annotations"][1]["segmentation"] = segmentation
    if segmentation == "absent":
        del content["annotations"][1]["segmentation"]
    (tmp_path / "a.json").write_text(json.dumps(content))
    dataset = load_coco("shapes_val", shapes / "val" / "images", tmp_path / "a.json")
    assert evaluate_coco(dataset, [], ["bbox"])["bbox"]["AP"] == 0
    with pytest.raises(DatasetError, match=f"annotation {content['annotations'][1]['id']} has no 'segmentation'"):
        evaluate_coco(dataset, [], ["bbox", "segm"])


def test_masks_cannot_be_evaluated_without_masks(val, perfect):
    boxes = [{key: value for key, value in result.items() if key != "segmentation"} for result in perfect]
    with pytest.raises(DatasetError, match="without a mask"):
        evaluate_coco(val, boxes)
    assert evaluate_coco(val, boxes, ["bbox"])["bbox"]["AP"] == pytest.approx(100.0)


def test_a_dataset_of_one_class_has_no_ap_by_class(val, perfect, tmp_path):
    # Source: detectron2 leaves it out.
    content = json.loads(val.annotations.read_text())
    content["categories"] = content["categories"][:1]
    content["annotations"] = [a for a in content["annotations"] if a["category_id"] == 1]
    annotations = tmp_path / "circles.json"
    annotations.write_text(json.dumps(content))
    circles = load_coco("circles", val.folder, annotations)
    metrics = evaluate_coco(circles, [result for result in perfect if result["category_id"] == 1], ["bbox"])
    assert list(metrics["bbox"]) == ["AP", "AP50", "AP75", "APs", "APm", "APl"]
    assert metrics["bbox"]["AP"] == pytest.approx(100.0)


def test_the_mean_of_a_curve_is_the_metric_that_it_is_named_after(val, perfect):
    """By COCO's definition: AP is the mean of the precision over IoU thresholds, recalls and classes."""
    moved = [
        {**result, "bbox": [result["bbox"][0] + result["image_id"] % 4, *result["bbox"][1:]]}
        for result in perfect
        if result["image_id"] % 5
    ]
    figures = measure_coco(val, moved, ["bbox"])

    curves = figures.curves["bbox"]
    assert curves.recall == pytest.approx([index / 100 for index in range(101)])
    for metric in ("AP50", "AP75", "AP"):
        assert 100 * np.mean(curves.precision[metric]) == pytest.approx(figures.metrics["bbox"][metric])
        assert len(curves.precision[metric]) == 101
    assert 0 < figures.metrics["bbox"]["AP"] < figures.metrics["bbox"]["AP50"] < 100


def test_a_curve_ends_at_the_recall_that_was_reached(val, perfect):
    """Of each class three objects of four are found, and nothing else: precision 1, and 0 past that recall."""
    kept, counts = [], {}
    for result in perfect:
        counts[result["category_id"]] = counts.get(result["category_id"], 0) + 1
        if counts[result["category_id"]] % 4:
            kept.append(result)

    curve = measure_coco(val, kept, ["bbox"]).curves["bbox"].precision["AP50"]

    assert curve[:75] == (1.0,) * 75
    assert curve[78:] == (0.0,) * 23


def test_a_dataset_without_objects_has_no_curve(shapes, tmp_path):
    content = json.loads((shapes / "val" / "instances.json").read_text()) | {"annotations": []}
    (tmp_path / "instances.json").write_text(json.dumps(content))
    empty = load_coco("empty", shapes / "val" / "images", tmp_path / "instances.json")

    figures = measure_coco(empty, [], ["bbox"])

    assert figures.curves == {}
    assert math.isnan(figures.metrics["bbox"]["AP"])


@pytest.fixture(scope="module")
def triangles(shapes):
    return load_coco("keypoints", shapes / "val" / "images", shapes / "val" / "keypoints.json")


@pytest.fixture(scope="module")
def pointed(triangles):
    """The annotated keypoints as detections."""
    annotations = json.loads(triangles.annotations.read_text())["annotations"]
    return [
        {name: a[name] for name in ("image_id", "category_id", "bbox", "keypoints")} | {"score": 1.0}
        for a in annotations
    ]


SIGMAS = (0.05, 0.05, 0.05)


def test_keypoints_count_from_the_pixels_centre_in_coco():
    found = Instances(
        (20, 30),
        pred_boxes=Boxes(torch.zeros(1, 4)),
        scores=torch.zeros(1),
        pred_classes=torch.zeros(1, dtype=torch.int64),
        pred_keypoints=torch.tensor([[[3.0, 4.5, 0.25], [0.5, 0.5, 1.0]]]),
    )
    (result,) = to_coco_results(1, found, (1,))
    assert result["keypoints"] == [2.5, 4.0, 0.25, 0.0, 0.0, 1.0]


def test_the_annotated_keypoints_as_detections_have_ap_100(triangles, pointed):
    figures = evaluate_coco(triangles, pointed, ["bbox", "keypoints"], None, SIGMAS)
    assert list(figures["keypoints"]) == ["AP", "AP50", "AP75", "APm", "APl"]
    assert figures["keypoints"]["AP"] == figures["bbox"]["AP"] == pytest.approx(100)


def test_the_sigmas_say_how_far_a_keypoint_may_be_off(triangles, pointed):
    moved = [
        result | {"keypoints": [value + 2 * (index % 3 < 2) for index, value in enumerate(result["keypoints"])]}
        for result in pointed
    ]
    tight, loose = (
        evaluate_coco(triangles, moved, ["keypoints"], None, [sigma] * 3)["keypoints"]["AP"] for sigma in (0.01, 1.0)
    )
    assert tight < 20
    assert loose > 99


def test_keypoints_without_a_sigma_for_each_are_refused(triangles, pointed):
    with pytest.raises(DatasetError, match=r"TEST\.KEYPOINT_OKS_SIGMAS"):
        evaluate_coco(triangles, pointed, ["keypoints"])


def test_keypoints_cannot_be_measured_on_objects_without_them(val, pointed):
    with pytest.raises(DatasetError, match="has no 'keypoints'"):
        evaluate_coco(val, pointed, ["keypoints"], None, SIGMAS)
