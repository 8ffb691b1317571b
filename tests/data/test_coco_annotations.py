"""What pycocotools would stumble over is refused before it does."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco_mask

from roastery.data.coco_annotations import check_annotations
from roastery.errors import DatasetError

SIZE = (4, 6)


def annotation(**changed: Any) -> dict[str, Any]:
    entry = {"id": 5, "image_id": 1, "category_id": 2, "iscrowd": 0, "bbox": [0, 0, 2, 2.5], "area": 4.0}
    return {key: value for key, value in (entry | changed).items() if value != "absent"}


def check(entry: dict[str, Any]) -> None:
    check_annotations([annotation(id=4), entry], {1: SIZE}, {2}, Path("a.json"))


@pytest.mark.parametrize(
    "segmentation",
    [
        "absent",
        None,
        [],
        [[0, 0, 3, 0, 3, 3.5]],
        [[0, 0, 3, 0, 3, 3], [1, 1, 2, 1, 2, 2, 1, 2]],
        {"size": [*SIZE], "counts": [24]},
        {"size": [*SIZE], "counts": [0, 24]},
        {"size": [*SIZE], "counts": "36?"},
    ],
)
def test_what_coco_has_is_taken(segmentation: Any) -> None:
    check(annotation(segmentation=segmentation))


@given(arrays(np.uint8, SIZE, elements=st.integers(0, 1)))
def test_every_mask_that_pycocotools_encodes_is_taken(mask: np.ndarray) -> None:
    encoded = coco_mask.encode(np.asfortranarray(mask))
    check(annotation(segmentation={"size": [*SIZE], "counts": encoded["counts"].decode()}))


@given(st.lists(st.integers(0, 2**24), min_size=1, max_size=30))
def test_run_lengths_that_fill_their_image_are_taken_as_text(counts: list[int]) -> None:
    size = (1, sum(counts))
    encoded = coco_mask.frPyObjects({"size": [*size], "counts": counts}, *size)
    entry = annotation(segmentation={"size": [*size], "counts": encoded["counts"].decode()})
    check_annotations([entry], {1: size}, {2}, Path("a.json"))
    # One more or fewer, and pycocotools would go on without end where it looks for what two masks share.
    for width in (sum(counts) - 1, sum(counts) + 1):
        other = annotation(segmentation={"size": [1, width], "counts": encoded["counts"].decode()})
        with pytest.raises(DatasetError, match="run lengths are damaged or do not fill its image"):
            check_annotations([other], {1: (1, width)}, {2}, Path("a.json"))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"image_id": 3}, "names the image '3', which is not in 'images'"),
        ({"image_id": True}, "names the image 'True'"),
        ({"image_id": "absent"}, "names the image 'None'"),
        ({"image_id": [1]}, "names the image"),
        ({"category_id": 1}, "names the category '1', which is not in 'categories'"),
        ({"category_id": {}}, "names the category"),
        ({"iscrowd": "absent"}, "has no 'iscrowd' of 0 or 1"),
        ({"iscrowd": 2}, "has no 'iscrowd' of 0 or 1"),
        ({"ignore": 1}, "has 'ignore'"),
        ({"bbox": "absent"}, "has no 'bbox' of four numbers"),
        ({"bbox": []}, "has no 'bbox' of four numbers"),
        ({"bbox": [0, 0, 1]}, "has no 'bbox' of four numbers"),
        ({"bbox": [0, 0, 1, "2"]}, "has no 'bbox' of four numbers"),
        ({"bbox": [0, 0, 1, float("inf")]}, "has no 'bbox' of four numbers"),
        ({"bbox": [0, 0, 1, 10**400]}, "has no 'bbox' of four numbers"),
        ({"area": "absent"}, "has no 'area'"),
        ({"segmentation": "polygon"}, "neither polygons"),
        ({"segmentation": [[0, 0, 2, 2]]}, "neither polygons"),
        ({"segmentation": [[0, 0, 2, 2, 1, 1, 3]]}, "neither polygons"),
        ({"segmentation": [[0, 0, 2, 2, 1, None]]}, "neither polygons"),
        ({"segmentation": [0, 0, 2, 2, 1, 1]}, "neither polygons"),
        # Beyond its image by more than its size. pycocotools takes memory for each pixel of an outline, or crashes.
        *(
            ({"segmentation": [[0, 0, 2, 2, *point]]}, "a polygon that leads far out of its image")
            for point in [(1e9, 1), (1, 1e308), (12.1, 1), (1, 8.1), (-6.1, 1), (1, -4.1)]
        ),
        ({"segmentation": {"size": [6, 4], "counts": [24]}}, "a mask of another size"),
        ({"segmentation": {"counts": [24]}}, "a mask of another size"),
        ({"segmentation": {"size": [*SIZE], "counts": [23]}}, "run lengths are damaged"),
        ({"segmentation": {"size": [*SIZE], "counts": [25, -1]}}, "run lengths are damaged"),
        ({"segmentation": {"size": [*SIZE], "counts": [24.0]}}, "run lengths are damaged"),
        ({"segmentation": {"size": [*SIZE], "counts": ""}}, "run lengths are damaged"),
        # A last character that says another follows: pycocotools would read past the text's end.
        ({"segmentation": {"size": [*SIZE], "counts": "36P"}}, "run lengths are damaged"),
        ({"segmentation": {"size": [*SIZE], "counts": "36\n"}}, "run lengths are damaged"),
        ({"segmentation": {"size": [*SIZE], "counts": "36"}}, "run lengths are damaged"),
        ({"segmentation": {"size": [*SIZE], "counts": "O"}}, "run lengths are damaged"),
        ({"segmentation": {"size": [*SIZE], "counts": "P" * 60 + "0"}}, "run lengths are damaged"),
        ({"segmentation": {"size": [*SIZE], "counts": "3 6"}}, "run lengths are damaged"),
    ],
)
def test_what_is_no_annotation_is_refused_with_its_id(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(DatasetError, match=r"^a\.json: annotation 5 ") as caught:
        check(annotation(**changed))
    assert said in str(caught.value)
