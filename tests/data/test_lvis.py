"""LVIS's JSON: COCO's but for where images lie, and for what each image was searched for."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from roastery.data.builtin import builtin_dataset
from roastery.data.coco import CocoDataset, load_coco
from roastery.data.dataset import load_dataset
from roastery.errors import DatasetError

Content = dict[str, Any]


def lvis() -> Content:
    """Two images of COCO's two splits; a rare, a common and a frequent category."""
    verified = {"neg_category_ids": [2], "not_exhaustive_category_ids": [3]}
    size = {"height": 40, "width": 60}
    polygon = [[0.0, 0.0, 20.0, 0.0, 20.0, 10.0, 0.0, 10.0]]
    box = {"bbox": [0.0, 0.0, 20.0, 10.0], "area": 200.0, "segmentation": polygon}
    return {
        "images": [
            {"id": 9, "coco_url": "http://images.cocodataset.org/train2017/000000000009.jpg", **size, **verified},
            {"id": 5, "coco_url": "http://images.cocodataset.org/val2017/000000000005.jpg", **size, **verified},
        ],
        "annotations": [{"id": 1, "image_id": 9, "category_id": 1, **box}],
        "categories": [
            {"id": 3, "name": "zebra", "frequency": "f"},
            {"id": 1, "name": "aardvark", "frequency": "r"},
            {"id": 2, "name": "mug", "frequency": "c"},
        ],
    }


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    for place in ("coco/train2017/000000000009.jpg", "coco/val2017/000000000005.jpg"):
        (tmp_path / place).parent.mkdir(parents=True)
        Image.new("RGB", (60, 40)).save(tmp_path / place)
    (tmp_path / "lvis").mkdir()
    return tmp_path


def loaded(root: Path, content: Content, name: str = "lvis_v1_val") -> CocoDataset:
    (root / "lvis" / f"{name}.json").write_text(json.dumps(content))
    spec = builtin_dataset(name)
    assert spec is not None
    return load_dataset(spec)


def test_images_lie_where_their_address_at_coco_ends(root: Path) -> None:
    dataset = loaded(root, lvis())
    assert [(image.id, image.path) for image in dataset.images] == [
        (5, root / "coco/val2017/000000000005.jpg"),
        (9, root / "coco/train2017/000000000009.jpg"),
    ]
    # Source: detectron2 takes LVIS's categories by rising id.
    assert dataset.class_names == ("aardvark", "mug", "zebra")
    assert dataset.is_federated
    assert [each["iscrowd"] for each in dataset.content["annotations"]] == [0]


def test_an_image_without_an_address_lies_where_its_file_name_says(root: Path) -> None:
    content = lvis()
    for image in content["images"]:
        image["file_name"] = "/".join(image.pop("coco_url").split("/")[-2:])
    assert loaded(root, content, "lvis_v0.5_val").images[0].path == root / "coco/val2017/000000000005.jpg"


def test_a_split_may_be_a_link_to_wherever_it_lies(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("disk") / "val2017"
    (root / "coco/val2017").rename(elsewhere)
    (root / "coco/val2017").symlink_to(elsewhere)
    assert len(loaded(root, lvis()).images) == 2


@pytest.mark.parametrize(
    "address", ["http://x/../secret.jpg", "http://x/val2017/..", "http://x/val2017/.hidden", "secret.jpg", "", 3, None]
)
def test_an_address_that_names_no_image_of_cocos_is_refused(root: Path, address: object) -> None:
    content = lvis()
    content["images"][0]["coco_url"] = address
    with pytest.raises(DatasetError, match="image 9 has no coco_url that ends with folder and file"):
        loaded(root, content)


def test_what_is_missing_is_named(root: Path) -> None:
    (root / "coco/val2017/000000000005.jpg").unlink()
    with pytest.raises(DatasetError, match=r"val2017: 1 of 1 images are missing: 000000000005\.jpg"):
        loaded(root, lvis())
    (root / "coco/val2017").rmdir()
    with pytest.raises(DatasetError, match=r"coco/val2017: no such folder of images \(dataset lvis_v1_val\)"):
        loaded(root, lvis())


@pytest.mark.parametrize("value", [None, 3, ["a"], [4], [True]])
@pytest.mark.parametrize("key", ["neg_category_ids", "not_exhaustive_category_ids"])
def test_an_image_must_say_what_it_was_searched_for(root: Path, key: str, value: object) -> None:
    content = lvis()
    content["images"][1][key] = value
    with pytest.raises(DatasetError, match=f"image 5 has no '{key}', a list of categories' ids"):
        loaded(root, content)


def test_images_of_a_test_split_have_no_annotations_and_say_nothing(root: Path) -> None:
    content = lvis()
    del content["annotations"]
    for image in content["images"]:
        del image["neg_category_ids"], image["not_exhaustive_category_ids"]
    (root / "lvis/lvis_v1_image_info_test_dev.json").write_text(json.dumps(content))
    spec = builtin_dataset("lvis_v1_test_dev")
    assert spec is not None
    assert len(load_dataset(spec).images) == 2


def test_the_same_json_as_cocos_has_another_digest(root: Path) -> None:
    content = lvis()
    for image in content["images"]:
        image["file_name"] = "/".join(image["coco_url"].split("/")[-2:])
    for annotation in content["annotations"]:
        annotation["iscrowd"] = 0
    federated = loaded(root, content)
    plain = load_coco("plain", root / "coco", federated.annotations)
    assert plain.images == federated.images
    assert plain.digest != federated.digest
