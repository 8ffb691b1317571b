import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from roastery.errors import DatasetError
from roastery.evaluation.segments import found_segments, segment_rows

IDS = np.array([[4, 4, 0, 2], [4, 2, 2, 2]])
INFO = [
    {"id": 4, "isthing": True, "score": 0.9, "category_id": 1, "instance_id": 0},
    {"id": 2, "isthing": False, "category_id": 2, "area": 4},
]
LABELS = np.array([[0, 0, 1, 2], [0, 2, 2, 2]])


@pytest.fixture(scope="module")
def truth(write_truth):
    """Of things, cat 10 and dog 30; of stuff, sky 20 and grass 40."""
    return write_truth((np.zeros((2, 4), int), {}, np.zeros((2, 4))), (np.zeros((5, 6), int), {}, np.zeros((5, 6))))


def test_a_thing_class_and_a_stuff_label_become_the_datasets_categories(truth):
    rows = segment_rows(1, IDS, INFO, LABELS, truth)
    # Run lengths go down the columns, and begin with what is not in the mask: of the dog 0, 3 (the first column and the
    # top of the second), 5; of the grass 3, 1 (under it), 1, 3.
    assert [{key: value for key, value in row.items() if key != "segmentation"} for row in rows] == [
        {"image_id": 1, "kind": "panoptic", "category_id": 30},
        {"image_id": 1, "kind": "panoptic", "category_id": 40},
        {"image_id": 1, "kind": "sem_seg", "label": 0},
        {"image_id": 1, "kind": "sem_seg", "label": 1},
        {"image_id": 1, "kind": "sem_seg", "label": 2},
    ]
    # COCO's text of runs: "0" and the run, the fourth and later ones minus the one two before.
    assert [row["segmentation"] for row in rows[:2]] == [
        {"size": [2, 4], "counts": "035"},
        {"size": [2, 4], "counts": "3112"},
    ]


def test_the_rows_survive_json(truth):
    rows = json.loads(json.dumps(segment_rows(1, IDS.astype(np.int32), INFO, LABELS.astype(np.int64), truth)))
    found = found_segments(1, rows, truth)
    np.testing.assert_array_equal(found.ids, [[1, 1, 0, 2], [1, 2, 2, 2]])
    np.testing.assert_array_equal(found.labels, LABELS)
    assert found.category_ids == (30, 40)


def test_no_rows_say_that_nothing_was_found(truth):
    found = found_segments(2, [], truth)
    np.testing.assert_array_equal(found.ids, np.zeros((5, 6)))
    np.testing.assert_array_equal(found.labels, np.full((5, 6), 255))
    assert found.category_ids == ()


def test_a_segment_without_a_pixel_has_no_row(truth):
    hidden = {"id": 9, "isthing": True, "category_id": 0}
    assert segment_rows(1, IDS, [hidden, *INFO], LABELS, truth) == segment_rows(1, IDS, INFO, LABELS, truth)


@given(
    ids=arrays.arrays(np.int32, (5, 6), elements=st.integers(0, 7)),
    labels=arrays.arrays(np.uint8, (5, 6), elements=st.integers(0, 2)),
    classes=st.lists(st.tuples(st.booleans(), st.integers(0, 1)), min_size=7, max_size=7),
    order=st.permutations(range(1, 8)),
    row_order=st.randoms(use_true_random=False),
)
def test_whatever_was_found_comes_back_in_any_order_but_for_its_ids(truth, ids, labels, classes, order, row_order):
    info = [
        {"id": id, "isthing": thing, "category_id": index if thing else index + 1}
        for id, (thing, index) in zip(order, classes, strict=True)
    ]
    rows = segment_rows(2, ids, info, labels, truth)
    row_order.shuffle(rows)
    found = found_segments(2, json.loads(json.dumps(rows)), truth)

    np.testing.assert_array_equal(found.labels, labels)
    category_of = {each["id"]: ((10, 30) if each["isthing"] else (0, 20, 40))[each["category_id"]] for each in info}
    assert [category_of.get(id) for id in ids.flat] == [(None, *found.category_ids)[id] for id in found.ids.flat]
    pairs = {*zip(ids.flat, found.ids.flat, strict=True)}
    assert len(pairs) == len({id for id, _ in pairs}) == len({id for _, id in pairs}), "one id for each id"


@pytest.mark.parametrize(
    ("segment", "said"),
    [
        ({"isthing": True, "category_id": 2}, "the model found thing class 2, but .* has 2 such categories"),
        ({"isthing": True, "category_id": -1}, "the model found thing class -1"),
        ({"isthing": False, "category_id": 3}, "the model found stuff label 3, but .* has 2 such categories"),
        ({"isthing": False, "category_id": 0}, "the model found stuff label 0"),
    ],
)
def test_a_class_without_a_category_is_refused(truth, segment, said):
    with pytest.raises(DatasetError, match=f"image 1: {said}"):
        segment_rows(1, IDS, [{**INFO[0], **segment}, INFO[1]], LABELS, truth)


@pytest.mark.parametrize("label", [3, 254, -1])
def test_a_label_without_a_category_is_refused(truth, label):
    labels = LABELS.copy()
    labels[1, 1] = label
    with pytest.raises(DatasetError, match=f"image 1: the model found label {label}, but .* has the labels 0 to 2"):
        segment_rows(1, IDS, INFO, labels, truth)


def test_arrays_of_another_size_than_the_datasets_are_refused(truth):
    for ids, labels in ((IDS.T, LABELS), (IDS, LABELS.T)):
        with pytest.raises(DatasetError, match=r"image 1: found on .* pixels, but .*a\.json says \(2, 4\)"):
            segment_rows(1, ids, INFO, labels, truth)
    with pytest.raises(DatasetError, match="no image with id 3"):
        segment_rows(3, IDS, INFO, LABELS, truth)


@pytest.mark.parametrize("info", [INFO[:1], [*INFO, INFO[0]], [*INFO, {**INFO[0], "id": 0}]])
def test_ids_that_the_infos_do_not_say_once_are_a_mistake_of_the_caller(truth, info):
    with pytest.raises(ValueError, match=r"image 1: segments \[2, 4\], but segments_info is of"):
        segment_rows(1, IDS, info, LABELS, truth)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"image_id": 2}, "a row of kind 'panoptic' of image 2"),
        ({"kind": "box"}, "a row of kind 'box' of image 1"),
        ({"category_id": 50}, r"image 1 has a segment of category 50, but there is \[10, 20, 30, 40\]"),
        ({"segmentation": None}, "a mask that does not fill its 2 x 4 pixels"),
        ({"segmentation": {"size": [4, 2], "counts": "035"}}, "a mask that does not fill its 2 x 4 pixels"),
        ({"segmentation": {"size": [2, 4], "counts": "034"}}, "a mask that does not fill its 2 x 4 pixels"),
        ({"segmentation": {"size": [2, 4], "counts": "PPPP"}}, "a mask that does not fill its 2 x 4 pixels"),
        ({"segmentation": {"size": [2, 4], "counts": "8"}}, "a mask of kind 'panoptic' without a pixel"),
        ({"segmentation": {"size": [2, 4], "counts": "053"}}, "two masks of kind 'panoptic' overlap"),
    ],
)
def test_rows_that_do_not_belong_here_are_refused(truth, change, said):
    rows = segment_rows(1, IDS, INFO, LABELS, truth)
    with pytest.raises(DatasetError, match=said):
        found_segments(1, [{**rows[0], **change}, *rows[1:]], truth)


def test_labels_that_do_not_belong_here_are_refused(truth):
    rows = segment_rows(1, IDS, INFO, LABELS, truth)
    with pytest.raises(DatasetError, match="the model found label 3"):
        found_segments(1, [*rows[:-1], {**rows[-1], "label": 3}], truth)
    with pytest.raises(DatasetError, match="two masks of kind 'sem_seg' overlap"):
        found_segments(1, [*rows, rows[-1]], truth)
