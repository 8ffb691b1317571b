"""Precision a category at a time: COCO's own, and of images that were searched for some categories alone."""

import contextlib
import io
import json
import math
from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from roastery.data.lvis import load_lvis
from roastery.evaluation import by_category
from roastery.evaluation.by_category import FEDERATED_DETECTIONS, precisions
from roastery.evaluation.coco import evaluate_coco, measure_coco

IMAGES, CATEGORIES = (1, 2, 3, 5), (1, 2, 4)
RECALLS = np.linspace(0, 1, 101)
THRESHOLDS = np.linspace(0.5, 0.95, 10)

boxes = st.tuples(
    *[st.integers(0, 3).map(lambda value: 20 * value)] * 2, *[st.integers(1, 6).map(lambda v: 20 * v)] * 2
)
places = st.tuples(st.sampled_from(IMAGES), st.sampled_from(CATEGORIES), boxes)
scores = st.integers(1, 9).map(lambda value: value / 10)


def annotations_of(places, crowds=()):
    return [
        {
            "id": number,
            "image_id": image_id,
            "category_id": category,
            "bbox": [*map(float, box)],
            "area": float(box[2] * box[3]),
            "iscrowd": int(number in crowds),
            "segmentation": [[x, y, x + w, y, x + w, y + h, x, y + h] for x, y, w, h in [map(float, box)]],
        }
        for number, (image_id, category, box) in enumerate(places, start=1)
    ]


def results_of(places):
    return [
        {"image_id": image_id, "category_id": category, "bbox": [*map(float, box)], "score": score}
        for (image_id, category, box), score in places
    ]


def content_of(annotations, negative=(), not_exhaustive=()):
    images = [
        {
            "id": image_id,
            "height": 300,
            "width": 300,
            "neg_category_ids": sorted(category for image, category in negative if image == image_id),
            "not_exhaustive_category_ids": sorted(category for image, category in not_exhaustive if image == image_id),
        }
        for image_id in IMAGES
    ]
    return {"images": images, "annotations": annotations, "categories": [{"id": category} for category in CATEGORIES]}


def silently(function, *arguments):
    with contextlib.redirect_stdout(io.StringIO()):
        return function(*arguments)


def whole_coco(content, results, iou_type):
    """The same of pycocotools, given everything at once."""
    truth = COCO()
    truth.dataset = json.loads(json.dumps(content))
    truth.createIndex()
    found = truth.loadRes([{k: v for k, v in row.items() if iou_type == "bbox" or k != "bbox"} for row in results])
    evaluation = COCOeval(truth, found, iou_type)
    evaluation.evaluate()
    evaluation.accumulate()
    return evaluation.eval["precision"][..., -1]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(places, max_size=12),
    st.sets(st.integers(1, 12)),
    st.lists(st.tuples(places, scores), min_size=1, max_size=30),
)
def test_it_is_what_pycocotools_gives_of_all_categories_at_once(truths, crowds, found):
    content, results = content_of(annotations_of(truths, crowds)), results_of(found)
    kept = json.dumps([content, results])
    expected = silently(whole_coco, content, results, "bbox")
    np.testing.assert_array_equal(silently(precisions, content, results, "bbox", IMAGES, CATEGORIES), expected)
    assert json.dumps([content, results]) == kept, "what it is given is not changed"


def test_masks_are_too(shapes):
    val = json.loads((shapes / "val/instances.json").read_text())
    images = [image["id"] for image in val["images"]]
    generator = np.random.default_rng(0)
    found = [
        {"image_id": each["image_id"], "category_id": int(generator.integers(1, 4)), "score": float(generator.random())}
        | {"segmentation": each["segmentation"]}
        for each in val["annotations"]
    ]
    expected = silently(whole_coco, val, found, "segm")
    np.testing.assert_array_equal(silently(precisions, val, found, "segm", images, (1, 2, 3)), expected)


def iou(one, other):
    (x, y, w, h), (a, b, c, d) = one, other
    common = max(0, min(x + w, a + c) - max(x, a)) * max(0, min(y + h, b + d) - max(y, b))
    return common / (w * h + c * d - common)


def plain_federated(annotations, results, negative, not_exhaustive, threshold, category):
    """Precision at 101 recalls, of one category, read off LVIS's paper (section 3.2) and COCO's way of matching."""
    objects = defaultdict(list)
    for row in annotations:
        if row["category_id"] == category:
            objects[row["image_id"]].append(row["bbox"])
    verified = {image for image in IMAGES if objects[image] or (image, category) in negative}
    of_image = defaultdict(list)
    for row in results:
        of_image[row["image_id"]].append(row)
    outcomes = []
    for image in sorted(verified):
        surest = sorted(of_image[image], key=lambda row: -row["score"])[: by_category.FEDERATED_DETECTIONS]
        free = list(objects[image])
        for row in (row for row in surest if row["category_id"] == category):
            best = None
            for box in free:
                if iou(row["bbox"], box) >= max(threshold - 1e-10, iou(row["bbox"], best) if best else 0):
                    best = box
            if best:
                free.remove(best)
            if best or (image, category) not in not_exhaustive:
                outcomes.append((row["score"], bool(best)))
    count = sum(map(len, objects.values()))
    if not count:
        return [-1.0] * 101
    points, right = [], 0
    for number, (_, is_right) in enumerate(sorted(outcomes, key=lambda outcome: -outcome[0]), start=1):
        right += is_right
        points.append((right / count, right / number))
    return [max((precision for reached, precision in points if reached >= recall), default=0.0) for recall in RECALLS]


pairs = st.sets(st.tuples(st.sampled_from(IMAGES), st.sampled_from(CATEGORIES)))


@settings(max_examples=100, deadline=None)
@given(
    st.lists(places, max_size=10), st.lists(st.tuples(places, scores), max_size=25), pairs, pairs, st.integers(1, 300)
)
def test_federated_precision_is_what_a_plain_count_gives(truths, found, negative, not_exhaustive, most):
    annotations, results = annotations_of(truths), results_of(found)
    negative -= {(row["image_id"], row["category_id"]) for row in annotations}
    content = content_of(annotations, negative, not_exhaustive)
    with pytest.MonkeyPatch.context() as patch:
        # So few detections never reach 300.
        patch.setattr(by_category, "FEDERATED_DETECTIONS", most % 12 + 1)
        actual = silently(precisions, content, results, "bbox", IMAGES, CATEGORIES, (), True)[..., 0]
        for index, category in enumerate(CATEGORIES):
            for at in (0, 5, 9):
                expected = plain_federated(annotations, results, negative, not_exhaustive, THRESHOLDS[at], category)
                np.testing.assert_allclose(actual[at, :, index], expected, atol=1e-9)


@pytest.fixture
def lvis(tmp_path):
    """Mugs in image 1; image 2 is said to have none; image 3 was not searched for them; of image 5 some are told."""
    (tmp_path / "val2017").mkdir()
    content = content_of(annotations_of([(1, 1, (0, 0, 40, 40)), (5, 1, (0, 0, 40, 40))]), {(2, 1)}, {(5, 1)})
    for image in content["images"]:
        name = f"{image['id']}.jpg"
        image["coco_url"] = f"http://images.cocodataset.org/val2017/{name}"
        Image.new("RGB", (300, 300)).save(tmp_path / "val2017" / name)
    for category, (name, frequency) in zip(
        content["categories"], [("mug", "r"), ("cup", "f"), ("jug", "f")], strict=True
    ):
        category |= {"name": name, "frequency": frequency}
    (tmp_path / "lvis.json").write_text(json.dumps(content))
    return load_lvis("lvis", tmp_path, tmp_path / "lvis.json")


RIGHT = [((1, 1, (0, 0, 40, 40)), 0.5), ((5, 1, (0, 0, 40, 40)), 0.5)]


@pytest.mark.parametrize(
    ("image_id", "ap"),
    [
        pytest.param(3, 100.0, id="an image that was not searched for a category has no mistakes of it"),
        pytest.param(5, 100.0, id="where not all are annotated, what is found more is no mistake"),
        # Both are found after one mistake: precision 2/3 at every recall.
        pytest.param(2, 200 / 3, id="where there is none, it is a mistake"),
        pytest.param(1, 200 / 3, id="and where all are annotated"),
    ],
)
def test_a_detection_more_counts_where_the_image_was_searched_for_its_category(lvis, image_id, ap):
    found = results_of([*RIGHT, ((image_id, 1, (200, 200, 40, 40)), 0.9)])
    figures = evaluate_coco(lvis, found, ["bbox"])["bbox"]
    assert (figures["AP"], figures["AP50"]) == pytest.approx((ap, ap))


def test_federated_figures_are_detectron2s(lvis):
    figures = measure_coco(lvis, results_of(RIGHT), ["bbox"])
    # Source: _evaluate_predictions_on_lvis of detectron2's lvis_evaluation.py: and none of single classes.
    assert [*figures.metrics["bbox"]] == ["AP", "AP50", "AP75", "APs", "APm", "APl", "APr", "APc", "APf"]
    assert figures.metrics["bbox"]["APr"] == pytest.approx(100)
    assert math.isnan(figures.metrics["bbox"]["APc"]), "there is no common category"
    assert math.isnan(figures.metrics["bbox"]["APf"]), "there is no cup and no jug"
    assert figures.curves["bbox"].precision["AP"][0] == pytest.approx(1)


def test_of_an_image_three_hundred_detections_count_whatever_they_are_of(lvis):
    others = [((1, 2, (200, 200, 40, 40)), 0.9)] * FEDERATED_DETECTIONS
    assert evaluate_coco(lvis, results_of([*RIGHT, *others[1:]]), ["bbox"])["bbox"]["AP"] == pytest.approx(100)
    # Of two mugs one is found: precision 1 up to a recall of a half, which are 51 of 101.
    figures = evaluate_coco(lvis, results_of([*RIGHT, *others]), ["bbox"])["bbox"]
    assert figures["AP"] == pytest.approx(100 * 51 / 101)
