import json
import weakref

import pytest
import torch

from roastery.config import load_config
from roastery.data.coco import load_coco
from roastery.evaluation.gate import GatePolicy
from roastery.evaluation.side_by_side import Found, evaluate_side_by_side, judge_side_by_side
from roastery.results import Measures, ParitySummary
from roastery.structures import Boxes, Instances


@pytest.fixture(scope="module")
def sample(shapes):
    return load_coco("sample", shapes / "sample/images", shapes / "sample/instances.json")


@pytest.fixture(scope="module")
def config(box_model):
    return load_config(box_model / "config.yaml")


@pytest.fixture(scope="module")
def truth(shapes, sample):
    """Image id to its boxes (xyxy) and class indices."""
    annotations = json.loads((shapes / "sample/instances.json").read_text())["annotations"]
    found = {record.id: ([], []) for record in sample.images}
    for annotation in annotations:
        x, y, width, height = annotation["bbox"]
        boxes, classes = found[annotation["image_id"]]
        boxes.append([x, y, x + width, y + height])
        classes.append(sample.category_ids.index(annotation["category_id"]))
    return found


@pytest.fixture
def knowing(truth):
    """A model that finds what is there; `shift` pixels to the right, and raising at the images in `failing`."""

    def make(shift=0.0, failing=()):
        def model(inputs):
            (single,) = inputs
            if single["image_id"] in failing:
                raise RuntimeError("no")
            boxes, classes = truth[single["image_id"]]
            instances = Instances(
                (single["height"], single["width"]),
                pred_boxes=Boxes(torch.tensor(boxes) + torch.tensor([shift, 0.0, shift, 0.0])),
                scores=torch.full((len(classes),), 0.9),
                pred_classes=torch.tensor(classes),
            )
            return [{"instances": instances}]

        return model

    return make


def summary(runtime, differences=()):
    return ParitySummary(
        passed=not differences, images=4, differences=differences, largest={"bbox_nms": 0.0}, runtime=runtime
    )


def test_models_that_find_the_same_pass_with_a_difference_of_nothing(sample, config, knowing):
    models = {"original": knowing(), "torch": knowing(), "caffe2": knowing()}
    told = []

    evaluation = evaluate_side_by_side(
        "m", sample, config, models, [summary("torch"), summary("caffe2")], GatePolicy(), told.append
    )

    assert evaluation.passed
    assert evaluation.judged_by == "caffe2"
    assert evaluation.metrics["original"]["bbox"]["AP"] == pytest.approx(100.0)
    assert evaluation.verdicts["caffe2"].deltas["bbox/AP"] == 0.0
    assert evaluation.images == len(sample.images)
    assert evaluation.dataset_sha256 == sample.digest
    assert set(evaluation.latency) == {"original", "torch", "caffe2"}
    assert len(told) == 3 * len(sample.images)


def test_a_model_that_finds_less_fails_whoever_else_passed(sample, config, knowing):
    models = {"original": knowing(), "torch": knowing(shift=8.0), "caffe2": knowing()}

    evaluation = evaluate_side_by_side("m", sample, config, models, [summary("torch"), summary("caffe2")], GatePolicy())

    assert not evaluation.passed
    assert not evaluation.verdicts["torch"].passed
    assert evaluation.verdicts["caffe2"].passed
    assert evaluation.verdicts["torch"].deltas["bbox/AP"] < -5


@pytest.mark.parametrize("who", ["original", "torch"])
def test_one_image_that_raised_fails_the_gate_whichever_model_it_was(sample, config, knowing, who):
    failing = sample.images[3]
    models = {"original": knowing(), "torch": knowing()} | {who: knowing(failing={failing.id})}

    evaluation = evaluate_side_by_side("m", sample, config, models, [summary("torch")], GatePolicy(max_ap_delta=100.0))

    assert evaluation.failed_images == (f"{who}: {failing.path.name}: no",)
    assert not evaluation.passed
    assert any(failing.path.name in reason for reason in evaluation.verdicts["torch"].reasons)


@pytest.mark.parametrize("parity", [[], [summary("torch", ("bbox_nms: 3 for 4",))]], ids=["none", "failed"])
def test_tensors_that_differ_or_were_not_compared_fail_the_gate(sample, config, knowing, parity):
    models = {"original": knowing(), "torch": knowing()}

    evaluation = evaluate_side_by_side("m", sample, config, models, parity, GatePolicy())

    assert not evaluation.passed


class Rows(list):
    """Detections whose end can be seen."""


def test_detections_of_one_target_are_in_memory_at_a_time(sample):
    before = []

    def found():
        for target in ("original", "torch", "caffe2"):
            assert all(rows() is None for rows in before)
            rows = Rows(
                {"image_id": sample.images[0].id, "category_id": 1, "bbox": [0.0, 0.0, 9.0, 9.0], "score": 0.5}
                for _ in range(3)
            )
            before.append(weakref.ref(rows))
            yield target, Found(rows, [1.0], [], len(sample.images))
            del rows

    judged = judge_side_by_side("m", sample, Measures(iou_types=("bbox",)), found(), [], GatePolicy())

    assert list(judged.evaluation.metrics) == ["original", "torch", "caffe2"]
    assert len(before) == 3
