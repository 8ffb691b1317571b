"""Average recall of proposals, by hand and by the plain counting that detectron2's is."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from roastery.data.coco import CocoDataset, ImageRecord
from roastery.errors import DatasetError
from roastery.evaluation.proposals import measure_proposals, to_proposal_results
from roastery.structures import Boxes, Instances


def dataset(folder: Path, objects: list[dict[str, Any]], images: int = 1) -> CocoDataset:
    entries = [{"id": index, "iscrowd": 0, "image_id": 1, **entry} for index, entry in enumerate(objects)]
    for entry in entries:
        entry.setdefault("area", entry["bbox"][2] * entry["bbox"][3])
    path = folder / "instances.json"
    path.write_text(json.dumps({"annotations": entries}))
    records = tuple(ImageRecord(index + 1, folder / f"{index}.jpg", 500, 500) for index in range(images))
    return CocoDataset("d", folder, path, records, (1,), ("thing",))


def row(bbox: list[float], score: float, image_id: int = 1) -> dict[str, Any]:
    return {"image_id": image_id, "bbox": bbox, "score": score}


def test_results_are_boxes_with_sides_and_logits() -> None:
    boxes = Boxes(torch.tensor([[1.0, 2.0, 4.0, 8.0]]))
    found = Instances((10, 10), proposal_boxes=boxes, objectness_logits=torch.tensor([3.5]))
    assert to_proposal_results(5, found) == [{"image_id": 5, "bbox": [1.0, 2.0, 3.0, 6.0], "score": 3.5}]


def test_recall_is_the_share_of_thresholds_that_the_best_box_reaches(tmp_path: Path) -> None:
    # IoU 0.81: it reaches 0.5, 0.55, ..., 0.8, seven of ten; the other object has no box of its own.
    data = dataset(tmp_path, [{"bbox": [0, 0, 100, 100]}, {"bbox": [300, 300, 10, 10]}])
    figures = measure_proposals(data, [row([0, 0, 100, 81], 1.0), row([0, 0, 100, 79], 0.5)])
    assert figures["AR@100"] == pytest.approx(35.0)
    assert figures["ARl@100"] == pytest.approx(70.0)
    assert figures["ARs@1000"] == pytest.approx(0.0)
    assert np.isnan(figures["ARm@100"])
    assert list(figures) == [f"AR{area}@{limit}" for limit in (100, 1000) for area in ("", "s", "m", "l")]


def test_only_the_best_so_many_count_and_crowds_do_not(tmp_path: Path) -> None:
    data = dataset(tmp_path, [{"bbox": [0, 0, 40, 40]}, {"bbox": [100, 100, 50, 50], "iscrowd": 1}])
    rows = [row([0, 0, 40, 40], -1.0), *(row([200, 200, 30, 30], float(score)) for score in range(100))]
    figures = measure_proposals(data, rows)
    assert figures["AR@100"] == 0.0
    assert figures["AR@1000"] == pytest.approx(100.0)


def test_an_image_without_proposals_is_left_out_as_detectron2_leaves_it_out(tmp_path: Path) -> None:
    data = dataset(tmp_path, [{"bbox": [0, 0, 40, 40]}, {"bbox": [0, 0, 40, 40], "image_id": 2}], images=2)
    assert measure_proposals(data, [row([0, 0, 40, 40], 1.0)])["AR@100"] == pytest.approx(100.0)


@pytest.mark.parametrize(
    ("bad", "said"),
    [(row([0, 0, 1, 1], 0.0, image_id=9), "image 9"), (row([0, float("nan"), 1, 1], 0.0), "NaN or infinity")],
)
def test_proposals_that_cannot_be_measured_are_refused(tmp_path: Path, bad: dict[str, Any], said: str) -> None:
    with pytest.raises(DatasetError, match=said):
        measure_proposals(dataset(tmp_path, [{"bbox": [0, 0, 9, 9]}]), [bad])


def plainly(found: list[list[float]], true: list[list[float]]) -> list[float]:
    """IoU after IoU, the largest that is left of all pairs; in floats of 64 bits."""

    def iou(one: list[float], other: list[float]) -> float:
        width = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
        height = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
        shared = max(width, 0) * max(height, 0)
        return shared / (one[2] * one[3] + other[2] * other[3] - shared)

    pairs = {(i, j): iou(one, other) for i, one in enumerate(found) for j, other in enumerate(true)}
    best = []
    while pairs:
        (row, column), value = max(pairs.items(), key=lambda pair: pair[1])
        best.append(value)
        pairs = {key: other for key, other in pairs.items() if row != key[0] and column != key[1]}
    return [*best, *[0.0] * (len(true) - len(best))]


box = st.tuples(st.integers(0, 30), st.integers(0, 30), st.integers(1, 40), st.integers(1, 40)).map(
    lambda numbers: [float(number) for number in numbers]
)


@given(st.lists(box, min_size=1, max_size=6), st.lists(box, min_size=1, max_size=6))
def test_it_is_what_counting_pair_by_pair_gives(
    tmp_path_factory: pytest.TempPathFactory, found: list[list[float]], true: list[list[float]]
) -> None:
    folder = tmp_path_factory.mktemp("drawn")
    overlaps = plainly(found, true)
    thresholds = [0.5 + 0.05 * step for step in range(10)]
    # An overlap on a threshold may be on either side of it.
    if any(abs(value - threshold) < 1e-5 for value in overlaps for threshold in thresholds):
        return
    expected = np.mean([[value >= threshold for value in overlaps] for threshold in thresholds]) * 100
    data = dataset(folder, [{"bbox": each} for each in true])
    rows = [row(each, float(score)) for score, each in enumerate(found)]
    assert measure_proposals(data, rows)["AR@100"] == pytest.approx(expected)
