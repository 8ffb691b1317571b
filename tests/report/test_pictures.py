import dataclasses
import json

import numpy as np
import pytest
from PIL import Image

from roastery.data.coco import load_coco
from roastery.drawing.colours import INK
from roastery.report.pictures import disagreement, draw_comparisons


@pytest.fixture(scope="module")
def sample(shapes):
    return load_coco("sample", shapes / "sample/images", shapes / "sample/instances.json")


@pytest.fixture(scope="module")
def found(shapes):
    """The annotations of the sample as if a model had found them, each with a score of 0.9."""
    annotations = json.loads((shapes / "sample/instances.json").read_text())["annotations"]
    kept = ("image_id", "category_id", "bbox", "segmentation")
    return [{name: annotation[name] for name in kept} | {"score": 0.9} for annotation in annotations]


def box(x=0.0, category=1, score=0.8, **changes):
    return {"image_id": 1, "category_id": category, "bbox": [x, 0.0, 10.0, 10.0], "score": score} | changes


def test_models_that_find_the_same_agree(found):
    one = [detection for detection in found if detection["image_id"] == found[0]["image_id"]]

    assert disagreement(one, one[::-1]) == pytest.approx(0.0, abs=1e-9)
    assert disagreement([], []) == 0.0


@pytest.mark.parametrize(
    ("expected", "actual", "value"),
    [
        ([box(score=0.8)], [], 0.8),
        ([], [box(score=0.8)], 0.8),
        ([box(score=0.8)], [box(score=0.6)], 0.2),
        ([box(category=1, score=0.8)], [box(category=2, score=0.6)], 1.4),
        ([box(0.0, score=0.8)], [box(100.0, score=0.6)], 1.4),
        # Overlap 8 of 12: 0.8 times a third.
        ([box(0.0, score=0.8)], [box(2.0, score=0.8)], 0.8 / 3),
    ],
)
def test_disagreement_is_what_was_missed_moved_or_scored_otherwise(expected, actual, value):
    assert disagreement(expected, actual) == pytest.approx(value)


def test_the_image_with_the_worst_disagreement_comes_first(sample, found, tmp_path):
    ids = [record.id for record in sample.images]
    lost = found[-1]["image_id"]
    converted = [detection for detection in found if detection["image_id"] != lost]

    pictures = draw_comparisons(tmp_path, sample, ids, {"original": found, "torch": converted}, count=3)

    assert [picture.path.name for picture in pictures] == ["report-1.png", "report-2.png", "report-3.png"]
    assert pictures[0].file == next(record.path.name for record in sample.images if record.id == lost)
    assert pictures[0].disagreement > 0.8
    assert pictures[1].disagreement == 0.0
    assert all(picture.path.is_file() for picture in pictures)


def test_the_same_detections_give_the_same_bytes(sample, found, tmp_path):
    folders = [tmp_path / "one", tmp_path / "two"]
    ids = [record.id for record in sample.images]
    for folder in folders:
        folder.mkdir()
        draw_comparisons(folder, sample, ids, {"original": found, "torch": found[::-1]}, count=1)

    one, two = ((folder / "report-1.png").read_bytes() for folder in folders)
    assert one == two


def test_each_model_has_a_panel_and_only_what_it_found_is_drawn_there(sample, found, tmp_path):
    (picture,) = draw_comparisons(
        tmp_path, sample, [sample.images[0].id], {"original": found, "torch": [], "caffe2": found}, count=1
    )

    pixels = np.asarray(Image.open(picture.path))
    panels = np.split(_without_gaps(pixels, 3), 3, axis=1)
    assert (panels[0][26:] == panels[2][26:]).all()
    assert (panels[0][26:] != panels[1][26:]).any()


def _without_gaps(pixels, panels):
    """The columns of the panels themselves: 8 columns of gap lie between two."""
    width = (pixels.shape[1] - 8 * (panels - 1)) // panels
    return np.concatenate([pixels[:, i * (width + 8) : i * (width + 8) + width] for i in range(panels)], axis=1)


def test_what_scores_less_than_a_half_is_not_drawn(sample, found, tmp_path):
    faint = [detection | {"score": 0.49} for detection in found]

    (picture,) = draw_comparisons(tmp_path, sample, [sample.images[0].id], {"original": faint, "torch": []}, count=1)

    left, right = np.split(_without_gaps(np.asarray(Image.open(picture.path)), 2), 2, axis=1)
    assert (left[26:] == right[26:]).all()


@pytest.mark.parametrize("bbox", [[-50.0, -50.0, 20.0, 20.0], [1e4, 1e4, 5.0, 5.0], [3.0, 3.0, 0.0, 0.0]])
def test_a_box_out_of_the_image_or_without_area_is_no_error(sample, tmp_path, bbox):
    detection = box(bbox=bbox, category=sample.category_ids[0], image_id=sample.images[0].id)

    (picture,) = draw_comparisons(
        tmp_path, sample, [sample.images[0].id], {"original": [detection], "torch": [detection]}, count=1
    )

    assert picture.disagreement == pytest.approx(0.0, abs=1e-9) or bbox[2] == 0


def test_categories_beyond_the_chosen_colours_have_colours_too(sample, tmp_path):
    many = dataclasses.replace(
        sample, category_ids=tuple(range(1, 81)), class_names=tuple(f"class {index}" for index in range(1, 81))
    )
    detections = [box(category=category, image_id=sample.images[0].id) for category in (1, 7, 80)]

    (picture,) = draw_comparisons(tmp_path, many, [sample.images[0].id], {"original": detections}, count=1)

    assert picture.path.is_file()


def test_keypoints_are_drawn_where_cocos_numbers_say(sample, tmp_path):
    """COCO counts from the middle of the first pixel, and the panel is larger than the image."""
    record = sample.images[0]
    detection = box(bbox=[20.0, 20.0, 60.0, 60.0], image_id=record.id, keypoints=[49.5, 49.5, 0.1, 69.5, 59.5, 0.9])
    plain = {key: value for key, value in detection.items() if key != "keypoints"}

    (picture,) = draw_comparisons(tmp_path, sample, [record.id], {"original": [detection], "torch": [plain]}, count=1)

    left, right = np.split(_without_gaps(np.asarray(Image.open(picture.path)), 2), 2, axis=1)
    zoom = 360 / max(record.width, record.height)
    for x, y in ((50, 50), (70, 60)):
        row, column = 26 + int(y * zoom), int(x * zoom)
        assert tuple(left[row, column]) == tuple(left[26 + int(50 * zoom), int(20 * zoom)])
        assert tuple(left[row, column - 4]) == tuple(left[row, column + 4]) == INK
        assert tuple(right[row, column]) != tuple(left[row, column])


def test_of_proposals_the_best_are_compared_by_the_probability_of_their_logits(sample, found, tmp_path):
    image = sample.images[0].id
    one = next(detection["bbox"] for detection in found if detection["image_id"] == image)
    best = [{"image_id": image, "bbox": one, "score": 3.0}]
    # Beyond what a float's exponential holds, and beyond the twenty best.
    rest = [{"image_id": image, "bbox": [0.0, 0.0, 4.0, 4.0], "score": -1000.0 - number} for number in range(30)]

    (same,) = draw_comparisons(tmp_path, sample, [image], {"original": rest + best, "torch": best + rest}, count=1)
    assert same.disagreement == pytest.approx(0.0)
    drawn = np.asarray(Image.open(same.path)).copy()
    (missed,) = draw_comparisons(tmp_path, sample, [image], {"original": best, "torch": rest}, count=1)
    # 1 / (1 + e^-3).
    assert missed.disagreement == pytest.approx(0.952574, abs=1e-3)
    assert (np.asarray(Image.open(missed.path)) != drawn).any()
