"""Panoptic ground truth is read as detectron2 and panopticapi read it, and refused in one line where it is not one."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from roastery.data.panoptic import PanopticCategory, PanopticTruth, load_panoptic
from roastery.errors import DatasetError

# Ids of one, two and three bytes.
IDS = np.array([[0, 5, 5, 300], [70000, 70000, 5, 300]])


def content() -> dict[str, Any]:
    """Two images, two things and two stuffs, in no order."""
    return {
        "images": [
            {"id": 9, "file_name": "b.jpg", "height": 2, "width": 4},
            {"id": 2, "file_name": "sub/a.jpg", "height": 1, "width": 3},
        ],
        "annotations": [
            {
                "image_id": 9,
                "file_name": "b.png",
                "segments_info": [
                    {"id": 5, "category_id": 8, "iscrowd": 0, "area": 3},
                    {"id": 70000, "category_id": 4, "iscrowd": 0},
                    {"id": 300, "category_id": 6, "iscrowd": 1},
                ],
            },
            {"image_id": 2, "file_name": "other/c.png", "segments_info": []},
        ],
        "categories": [
            {"id": 8, "name": "sky", "isthing": 0},
            {"id": 6, "name": "dog", "isthing": 1},
            {"id": 4, "name": "grass", "isthing": 0},
            {"id": 5, "name": "cat", "isthing": 1},
        ],
    }


def save_ids(path: Path, ids: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    channels = np.stack([np.asarray(ids) >> shift & 255 for shift in (0, 8, 16)], axis=-1)
    Image.fromarray(channels.astype(np.uint8)).save(path)


def save_labels(path: Path, labels: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.array(labels, np.uint8)).save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_ids(tmp_path / "masks" / "b.png", IDS)
    save_ids(tmp_path / "masks" / "other" / "c.png", [[0, 0, 0]])
    save_labels(tmp_path / "labels" / "b.png", [[255, 2, 2, 0], [1, 1, 2, 0]])
    save_labels(tmp_path / "labels" / "sub" / "a.png", [[0, 0, 255]])
    (tmp_path / "a.json").write_text(json.dumps(content()))
    return tmp_path


def load(folder: Path, decode: bool = True) -> PanopticTruth:
    return load_panoptic(folder / "a.json", folder / "masks", folder / "labels", decode=decode)


def refusal(folder: Path, data: dict[str, Any] | None = None, decode: bool = True) -> str:
    if data is not None:
        (folder / "a.json").write_text(json.dumps(data))
    with pytest.raises(DatasetError) as caught:
        load(folder, decode)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_categories_and_images_are_by_rising_id_and_things_apart_from_stuff(folder: Path) -> None:
    truth = load(folder)
    assert truth.categories == (
        PanopticCategory(4, "grass", False),
        PanopticCategory(5, "cat", True),
        PanopticCategory(6, "dog", True),
        PanopticCategory(8, "sky", False),
    )
    assert (truth.thing_ids, truth.stuff_ids, truth.image_ids) == ((5, 6), (4, 8), (2, 9))
    assert truth.label_names == ("things", "grass", "sky")


def test_a_segments_id_is_red_and_256_green_and_65536_blue(folder: Path) -> None:
    ids, segments = load(folder).segments(9)
    np.testing.assert_array_equal(ids, IDS)
    assert ids.dtype == np.int64
    assert segments == [
        {"id": 5, "category_id": 8, "iscrowd": 0},
        {"id": 70000, "category_id": 4, "iscrowd": 0},
        {"id": 300, "category_id": 6, "iscrowd": 1},
    ]


def test_an_image_may_be_void_all_over(folder: Path) -> None:
    ids, segments = load(folder).segments(2)
    assert (ids.tolist(), segments) == ([[0, 0, 0]], [])


def test_labels_are_found_by_the_images_name(folder: Path) -> None:
    truth = load(folder)
    assert truth.labels(9).tolist() == [[255, 2, 2, 0], [1, 1, 2, 0]]
    assert truth.labels(2).tolist() == [[0, 0, 255]]
    assert truth.labels(9).dtype == np.uint8


def test_what_is_done_to_the_segments_is_not_done_to_the_truth(folder: Path) -> None:
    truth = load(folder)
    truth.segments(9)[1][0]["category_id"] = 4
    assert truth.segments(9)[1][0]["category_id"] == 8


def test_an_image_that_is_not_there_is_asked_for_in_vain(folder: Path) -> None:
    for read in (load(folder).segments, load(folder).labels):
        with pytest.raises(DatasetError, match=r"a\.json: no image with id 7"):
            read(7)


@pytest.mark.parametrize("split", ["val", "sample"])
def test_in_the_demo_dataset_a_segments_label_is_its_categorys_and_its_pixels_are_its_area(
    shapes: Path, split: str
) -> None:
    path = shapes / split / "panoptic.json"
    truth = load_panoptic(path, shapes / split / "panoptic", shapes / split / "sem_seg")
    areas = {
        (annotation["image_id"], segment["id"]): segment["area"]
        for annotation in json.loads(path.read_text())["annotations"]
        for segment in annotation["segments_info"]
    }
    assert truth.label_names == ("things", "sky", "ground")
    for image_id in truth.image_ids:
        (ids, segments), labels = truth.segments(image_id), truth.labels(image_id)
        for segment in segments:
            of_stuff = segment["category_id"] in truth.stuff_ids
            label = truth.stuff_ids.index(segment["category_id"]) + 1 if of_stuff else 0
            assert {*labels[ids == segment["id"]].tolist()} == {label}
            assert np.count_nonzero(ids == segment["id"]) == areas[image_id, segment["id"]]


def test_the_digest_is_of_the_bytes_and_not_of_the_place(folder: Path) -> None:
    digest = load(folder).digest
    shutil.copytree(folder, folder / "elsewhere", ignore=shutil.ignore_patterns("elsewhere"))
    assert load(folder / "elsewhere").digest == digest


@pytest.mark.parametrize("file", ["masks/b.png", "masks/other/c.png", "labels/b.png", "labels/sub/a.png", "a.json"])
def test_one_byte_changes_the_digest(folder: Path, file: str) -> None:
    digest = load(folder).digest
    (folder / file).write_bytes((folder / file).read_bytes() + b" ")
    assert load(folder).digest != digest


CHANGES: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "no images": (lambda data: data.update(images=[]), "'images' is not a list with at least one"),
    "no annotations": (lambda data: data.pop("annotations"), "'annotations' is not a list with at least one"),
    "annotations of text": (lambda data: data.update(annotations=["b.png"]), "'annotations' is not a list with"),
    "no categories": (lambda data: data.pop("categories"), "'categories' is not a list with at least one"),
    "an image twice": (lambda data: data["images"][0].update(id=2), "the id 2 occurs twice in 'images'"),
    "an image of no size": (lambda data: data["images"][0].pop("width"), "image 9 (b.jpg) has no height and width"),
    "a category twice": (lambda data: data["categories"][0].update(id=4), "the id 4 occurs twice in 'categories'"),
    "a category of no name": (lambda data: data["categories"][0].pop("name"), "category 8 has no name"),
    "a category of no kind": (
        lambda data: data["categories"][1].pop("isthing"),
        "category 6 (dog) has no 'isthing' of 0 or 1",
    ),
    "a category of a third kind": (
        lambda data: data["categories"][1].update(isthing=2),
        "category 6 (dog) has no 'isthing' of 0 or 1",
    ),
    "a stuff called as another": (
        lambda data: data["categories"][0].update(name="grass"),
        "two semantic labels have the name 'grass'",
    ),
    "a stuff called things": (
        lambda data: data["categories"][0].update(name="things"),
        "two semantic labels have the name 'things'",
    ),
    "more stuff than labels": (
        lambda data: data.update(categories=[{"id": n, "name": f"{n}", "isthing": 0} for n in range(1, 256)]),
        "it has 255 stuff categories, but labels of 8 bits have room for 254",
    ),
    "an annotation of no image": (
        lambda data: data["annotations"][0].update(image_id=7),
        "an annotation names the image '7', which is not in 'images'",
    ),
    "an annotation of true": (
        lambda data: data["annotations"][0].update(image_id=True),
        "an annotation names the image 'True', which is not in 'images'",
    ),
    "two of one image": (lambda data: data["annotations"][0].update(image_id=2), "image 2 has two annotations"),
    "an image without one": (lambda data: data["annotations"].pop(), "image 2 has no annotation"),
    "no file name": (
        lambda data: data["annotations"][0].pop("file_name"),
        "the annotation of image 9 has no file_name",
    ),
    "a null byte": (
        lambda data: data["annotations"][0].update(file_name="b\0.png"),
        "the annotation of image 9 has no file_name",
    ),
    "no segments": (
        lambda data: data["annotations"][1].pop("segments_info"),
        "the annotation of image 2 has no 'segments_info', a list of objects",
    ),
    "segments of text": (
        lambda data: data["annotations"][1].update(segments_info=["sky"]),
        "the annotation of image 2 has no 'segments_info', a list of objects",
    ),
    "a segment that is void": (lambda data: first(data).update(id=0), "a segment of image 9 has the id '0', not an"),
    "a segment beyond any pixel": (
        lambda data: first(data).update(id=1 << 24),
        "has the id '16777216', not an integer of 1 to 16777215",
    ),
    "a segment twice": (lambda data: first(data).update(id=300), "a segment of image 9 has the id 300, as another has"),
    "a segment of no category": (
        lambda data: first(data).update(category_id=7),
        "a segment of image 9 (5) names the category '7', which is not in 'categories'",
    ),
    "a segment neither crowd nor not": (
        lambda data: first(data).pop("iscrowd"),
        "a segment of image 9 (5) has no 'iscrowd' of 0 or 1",
    ),
    "a segment without a pixel": (
        lambda data: data["annotations"][1]["segments_info"].append({"id": 3, "category_id": 4, "iscrowd": 0}),
        "masks/other/c.png of image 2 has segment 3 without a pixel",
    ),
    "pixels without a segment": (
        lambda data: data["annotations"][0]["segments_info"].pop(),
        "masks/b.png of image 9 has segment 300 which its 'segments_info' lacks",
    ),
}


def first(data: dict[str, Any]) -> dict[str, Any]:
    """The segment 5 of image 9."""
    segment: dict[str, Any] = data["annotations"][0]["segments_info"][0]
    return segment


@pytest.mark.parametrize("change", CHANGES)
def test_malformed_annotations_are_refused_by_what_is_wrong_with_them(folder: Path, change: str) -> None:
    data = content()
    apply, said = CHANGES[change]
    apply(data)
    message = refusal(folder, data)
    assert said in message
    assert message.startswith(f"{folder / 'a.json'}: ")
    assert message.endswith("; correct the annotations")


def test_254_stuff_categories_have_a_label_each(folder: Path) -> None:
    data = content()
    data["categories"] = [{"id": n, "name": f"{n}", "isthing": 0} for n in range(1, 255)]
    (folder / "a.json").write_text(json.dumps(data))
    save_labels(folder / "labels" / "b.png", [[254] * 4, [255] * 4])
    assert load(folder).labels(9).max() == 255


@pytest.mark.parametrize("text", ["", "[", "[]", '{"images": NaN}'])
def test_what_is_no_json_of_an_object_is_refused(folder: Path, text: str) -> None:
    (folder / "a.json").write_text(text)
    assert refusal(folder).startswith(f"{folder / 'a.json'}: ")


@pytest.mark.parametrize("kind", ["masks", "labels"])
def test_a_missing_folder_is_named(folder: Path, kind: str) -> None:
    (folder / kind).rename(folder / "moved")
    assert f"{folder / kind}: no such folder of PNGs (annotations {folder / 'a.json'})" in refusal(folder)


@pytest.mark.parametrize(("file", "kind"), [("masks/b.png", "masks"), ("labels/b.png", "labels")])
def test_a_missing_png_is_named(folder: Path, file: str, kind: str) -> None:
    (folder / file).unlink()
    assert f"{folder / kind}: 1 of 2 images are missing: b.png" in refusal(folder)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("../secret.png", "lies outside the image folder"),
        ("/etc/passwd", "lies outside the image folder"),
        ("up/secret.png", "lies outside the image folder"),
        ("zero.png", "lies outside the image folder"),
        (".", "images are missing"),
        ("..", "lies outside the image folder"),
        ("x" * 300, "images are missing"),
        ("pipe.png", "images are missing"),
    ],
)
def test_a_mask_that_lies_elsewhere_or_nowhere_is_refused(folder: Path, name: str, said: str) -> None:
    save_ids(folder / "secret.png", IDS)
    (folder / "masks" / "up").symlink_to("..")
    (folder / "masks" / "zero.png").symlink_to("/dev/zero")
    os.mkfifo(folder / "masks" / "pipe.png")
    data = content()
    data["annotations"][0]["file_name"] = name
    assert said in refusal(folder, data)


@pytest.mark.parametrize("name", ["../secret.jpg", "/etc/secret.jpg", "up/secret.jpg", ".", ".."])
def test_labels_that_lie_elsewhere_are_refused(folder: Path, name: str) -> None:
    save_labels(folder / "secret.png", [[0] * 4] * 2)
    (folder / "labels" / "up").symlink_to("..")
    data = content()
    data["images"][0]["file_name"] = name
    message = refusal(folder, data)
    assert "lies outside the image folder" in message or "images are missing" in message


def test_a_label_of_no_stuff_is_refused_and_255_is_not(folder: Path) -> None:
    save_labels(folder / "labels" / "b.png", [[255, 2, 2, 0], [1, 3, 254, 0]])
    message = refusal(folder)
    assert message.startswith(f"{folder / 'labels' / 'b.png'}: has the label 3, but {folder / 'a.json'} has 2 stuff")
    assert message.endswith("label things 0, stuff from 1 on, and 255 what does not count")


@pytest.mark.parametrize("kind", ["masks", "labels"])
def test_a_png_of_another_size_or_mode_is_refused(folder: Path, kind: str) -> None:
    path = folder / kind / "b.png"
    Image.open(path).transpose(Image.Transpose.ROTATE_90).save(path)
    assert f"{path}: is 4 x 2 pixels (height x width), but the annotations say 2 x 4" in refusal(folder)
    Image.new("RGBA", (4, 2)).save(path)
    assert f"{path}: is a PNG of mode RGBA, not " in refusal(folder)


def test_the_pixels_can_be_left_to_those_who_read_them(folder: Path) -> None:
    save_ids(folder / "masks" / "b.png", IDS + 1)
    save_labels(folder / "labels" / "b.png", [[7] * 4] * 2)
    truth = load(folder, decode=False)
    assert len(truth.images) == 2
    with pytest.raises(DatasetError, match="which its 'segments_info' lacks"):
        truth.segments(9)
    with pytest.raises(DatasetError, match="has the label 7"):
        truth.labels(9)
