"""A COCO dataset is read as detectron2 reads it, and refused in one line where it is not one."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from pycocotools.coco import COCO

from roastery.data.coco import CocoDataset, load_coco
from roastery.errors import DatasetError


def content() -> dict[str, Any]:
    """Two images, two categories, in no order."""
    mask = {"size": [4, 6], "counts": [3, 5, 16]}
    return {
        "images": [
            {"id": 9, "file_name": "b.png", "height": 4, "width": 6},
            {"id": 2, "file_name": "sub/a.png", "height": 5, "width": 7},
        ],
        "annotations": [
            {"id": 1, "image_id": 9, "category_id": 7, "iscrowd": 0, "bbox": [0, 1, 2.5, 3], "area": 5.0},
            {"id": 2, "image_id": 9, "category_id": 3, "iscrowd": 1, "bbox": [0, 1, 2, 3], "area": 5}
            | {"segmentation": mask},
        ],
        "categories": [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}],
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "images" / "sub").mkdir(parents=True)
    Image.new("RGB", (6, 4)).save(tmp_path / "images" / "b.png")
    Image.new("RGB", (7, 5)).save(tmp_path / "images" / "sub" / "a.png")
    (tmp_path / "a.json").write_text(json.dumps(content()))
    return tmp_path


def load(folder: Path) -> CocoDataset:
    return load_coco("test", folder / "images", folder / "a.json")


def refusal(folder: Path, text: str | bytes | dict[str, Any] | list[Any]) -> str:
    data = text if isinstance(text, str | bytes) else json.dumps(text)
    (folder / "a.json").write_bytes(data if isinstance(data, bytes) else data.encode())
    with pytest.raises(DatasetError) as caught:
        load(folder)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_images_and_classes_are_in_detectron2s_order(folder: Path) -> None:
    dataset = load(folder)
    assert [(image.id, image.path.name, image.height, image.width) for image in dataset.images] == [
        (2, "a.png", 5, 7),
        (9, "b.png", 4, 6),
    ]
    assert dataset.category_ids == (3, 7)
    assert dataset.class_names == ("cat", "dog")


@pytest.mark.parametrize("split", ["val", "sample"])
def test_the_demo_dataset_is_what_pycocotools_says(shapes: Path, split: str) -> None:
    path = shapes / split / "instances.json"
    dataset, coco = load_coco(split, shapes / split / "images", path), COCO(str(path))
    assert [image.id for image in dataset.images] == sorted(coco.getImgIds())
    assert list(dataset.category_ids) == sorted(coco.getCatIds())
    assert list(dataset.class_names) == [coco.cats[identity]["name"] for identity in dataset.category_ids]


def test_the_digest_is_of_the_bytes_and_not_of_the_place(folder: Path) -> None:
    digest = load(folder).digest
    shutil.copytree(folder, folder / "elsewhere", ignore=shutil.ignore_patterns("elsewhere"))
    os.utime(folder / "elsewhere" / "images" / "b.png", (0, 0))
    assert load(folder / "elsewhere").digest == digest
    assert load_coco("another name", folder / "images", folder / "a.json").digest == digest


@pytest.mark.parametrize("file", ["images/b.png", "images/sub/a.png", "a.json"])
def test_one_byte_changes_the_digest(folder: Path, file: str) -> None:
    digest = load(folder).digest
    path = folder / file
    path.write_bytes(path.read_bytes() + b" ")
    assert load(folder).digest != digest


def test_two_images_that_change_places_change_the_digest(folder: Path) -> None:
    digest = load(folder).digest
    first, second = folder / "images" / "b.png", folder / "images" / "sub" / "a.png"
    contents = first.read_bytes(), second.read_bytes()
    second.write_bytes(contents[0])
    first.write_bytes(contents[1])
    assert load(folder).digest != digest


def test_an_image_that_is_gone_when_the_digest_is_asked_for_is_named(folder: Path) -> None:
    dataset = load(folder)
    (folder / "images" / "b.png").unlink()
    with pytest.raises(DatasetError, match=r"b\.png: cannot be read \(No such file"):
        _ = dataset.digest


def test_a_dataset_without_annotations_can_be_sampled_from(folder: Path) -> None:
    data = content()
    del data["annotations"]
    (folder / "a.json").write_text(json.dumps(data))
    assert len(load(folder).images) == 2


@pytest.mark.parametrize("name", ["../outside.png", "sub/../../outside.png", "{folder}/outside.png", "/etc/hostname"])
def test_a_file_name_that_leaves_the_folder_is_refused(folder: Path, name: str) -> None:
    Image.new("RGB", (6, 4)).save(folder / "outside.png")
    data = content()
    data["images"][0]["file_name"] = name.format(folder=folder)
    assert "lies outside the image folder" in refusal(folder, data)


def test_a_link_that_leaves_the_folder_is_refused(folder: Path) -> None:
    Image.new("RGB", (6, 4)).save(folder / "outside.png")
    (folder / "images" / "b.png").unlink()
    (folder / "images" / "b.png").symlink_to(folder / "outside.png")
    assert "image 9" in refusal(folder, content())
    (folder / "other").mkdir()
    (folder / "other" / "b.png").write_bytes((folder / "outside.png").read_bytes())
    (folder / "images" / "link").symlink_to(folder / "other")
    data = content()
    data["images"][0]["file_name"] = "link/b.png"
    assert "lies outside the image folder" in refusal(folder, data)


def test_links_inside_the_folder_and_a_linked_folder_are_followed(folder: Path) -> None:
    (folder / "images" / "b.png").rename(folder / "images" / "real.png")
    (folder / "images" / "b.png").symlink_to("real.png")
    (folder / "linked").symlink_to(folder / "images")
    assert len(load_coco("test", folder / "linked", folder / "a.json").images) == 2


def test_missing_images_are_named(folder: Path) -> None:
    data = content()
    data["images"] += [
        {"id": 100 + number, "file_name": f"gone{number}.jpg", "height": 1, "width": 1} for number in range(7)
    ]
    message = refusal(folder, data)
    assert "7 of 9 images are missing: gone0.jpg, gone1.jpg, gone2.jpg, gone3.jpg, gone4.jpg and 2 more" in message


def test_a_missing_image_that_is_named_by_its_whole_path_is_named_below_its_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    data = content()
    data["images"][0]["file_name"] = str(folder / "images" / "gone.png")
    assert "images: 1 of 2 images are missing: gone.png" in refusal(Path(), data)


def test_a_missing_folder_and_a_missing_file_are_named(folder: Path) -> None:
    with pytest.raises(DatasetError, match="nowhere: no such folder of images"):
        load_coco("test", folder / "nowhere", folder / "a.json")
    with pytest.raises(DatasetError, match=r"none\.json: cannot be read \(No such file"):
        load_coco("test", folder / "images", folder / "none.json")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is not JSON"),
        ("{", "is not JSON"),
        ('{"images": [1]}\n\n\n', "'categories'"),
        (b"\xff\xfe\xfa", "is not JSON"),
        ("[" * 200_000, "is not JSON"),
        ('{"images": [{"id": NaN}]}', "NaN, which JSON does not have"),
        ('{"a": ' + "9" * 5000 + "}", "is not JSON"),
        ("[]", "is not an object"),
        ("{}", "'categories' is not a list"),
    ],
)
def test_what_is_no_coco_json_is_refused(folder: Path, text: str | bytes, said: str) -> None:
    assert said in refusal(folder, text)


CHANGES: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "no images": (lambda data: data.update(images=[]), "'images' is not a list with at least one"),
    "no categories": (lambda data: data.update(categories=[]), "'categories' is not a list with at least one"),
    "images of text": (lambda data: data.update(images=["a.png"]), "'images' is not a list with at least one"),
    "annotations by name": (lambda data: data.update(annotations={}), "'annotations' is not a list"),
    "an image twice": (lambda data: data["images"][0].update(id=2), "the id 2 occurs twice in 'images'"),
    "an annotation twice": (lambda data: data["annotations"][0].update(id=2), "the id 2 occurs twice in 'annotations'"),
    "a category twice": (lambda data: data["categories"][0].update(id=3), "the id 3 occurs twice in 'categories'"),
    "an id of text": (lambda data: data["images"][0].update(id="9"), "the id '9', not an integer"),
    "an id beyond any array": (lambda data: data["annotations"][0].update(id=1 << 63), "not an integer of 64 bits"),
    "no id": (lambda data: data["annotations"][0].pop("id"), "the id 'None', not an integer"),
    "an id of true": (lambda data: data["images"][0].update(id=True), "the id 'True', not an integer"),
    "no file name": (lambda data: data["images"][0].pop("file_name"), "image 9 has no file_name"),
    "a null byte": (lambda data: data["images"][0].update(file_name="a\0.png"), "image 9 has no file_name"),
    "no height": (lambda data: data["images"][0].pop("height"), "image 9 (b.png) has no height and width"),
    "no pixels": (lambda data: data["images"][0].update(width=0), "image 9 (b.png) has no height and width"),
    "more pixels than a JPEG has": (
        lambda data: data["images"][0].update(width=65536),
        "image 9 (b.png) has no height and width",
    ),
    "half a pixel": (lambda data: data["images"][0].update(width=5.5), "image 9 (b.png) has no height and width"),
    "no class name": (lambda data: data["categories"][0].pop("name"), "category 7 has no name"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_malformed_dataset_is_refused_by_what_is_wrong_with_it(folder: Path, change: str) -> None:
    data = content()
    apply, said = CHANGES[change]
    apply(data)
    assert said in refusal(folder, data)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("../secret.png", "lies outside the image folder"),
        ("/etc/passwd", "lies outside the image folder"),
        ("up/secret.png", "lies outside the image folder"),
        ("x" * 300, "images are missing"),
        ("circle", "images are missing"),
        ("pipe", "images are missing"),
        ("zero", "lies outside the image folder"),
        ("half \ud800.png", "has no file_name"),
    ],
)
def test_a_file_name_that_leads_elsewhere_or_nowhere_is_refused(folder: Path, name: str, said: str) -> None:
    images = folder / "images"
    (folder / "secret.png").write_bytes(b"not an image of the dataset")
    (images / "up").symlink_to("..")
    (images / "circle").symlink_to("circle")
    (images / "zero").symlink_to("/dev/zero")
    os.mkfifo(images / "pipe")
    data = content()
    data["images"][0]["file_name"] = name
    assert said in refusal(folder, data)


def test_annotations_that_are_a_pipe_or_a_device_are_refused_before_they_are_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.json")
    for path in (tmp_path / "pipe.json", Path("/dev/zero")):
        with pytest.raises(DatasetError, match="Is a pipe, a socket or a device, not a file"):
            load_coco("hostile", tmp_path, path)


def test_a_category_whose_name_is_no_whole_text_is_refused(folder: Path) -> None:
    data = content()
    data["categories"][0]["name"] = "half \ud800"
    assert "category 7 has no name" in refusal(folder, data)
