"""Semantic labels alone, as detectron2's `_stuffonly` datasets have them."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from roastery.data.builtin import builtin_dataset
from roastery.data.coco_stuff import LABELS
from roastery.data.dataset import load_dataset, load_sampled_from
from roastery.errors import DatasetError
from roastery.spec import DatasetSpec


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three images, of which two have labels."""
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    images, labels = tmp_path / "coco/val2017", tmp_path / "coco/panoptic_stuff_val2017"
    for folder in (images, labels):
        folder.mkdir(parents=True)
    for name in ("000000000139", "000000000285", "000000000632"):
        Image.new("RGB", (8, 6)).save(images / f"{name}.jpg")
    for number, name in enumerate(("000000000632", "000000000139")):
        pixels = np.full((6, 8), 53 if number else 0, np.uint8)
        pixels[0] = 255
        Image.fromarray(pixels).save(labels / f"{name}.png")
    return tmp_path / "coco"


def spec(name: str = "coco_2017_val_panoptic_stuffonly") -> DatasetSpec:
    found = builtin_dataset(name)
    assert found is not None
    return found


def test_the_images_with_labels_are_read_by_name_with_detectron2s_names(root: Path) -> None:
    dataset = load_dataset(spec())
    assert [record.path.stem for record in dataset.images] == ["000000000139", "000000000632"]
    assert [(record.height, record.width) for record in dataset.images] == [(6, 8), (6, 8)]
    assert dataset.sem_seg is not None
    # builtin_meta.py: stuff of rising id, after the one label of all things.
    assert len(LABELS) == len(set(LABELS)) == 54
    assert dataset.sem_seg.label_names == LABELS
    assert (LABELS[0], LABELS[1], LABELS[53]) == ("things", "banner", "rug-merged")
    assert np.unique(dataset.sem_seg.labels(1)).tolist() == [53, 255]
    assert [record.id for record in load_sampled_from(spec()).images] == [1, 2]


def test_labels_may_be_links_to_those_of_all_images(root: Path) -> None:
    few = root / "panoptic_stuff_val2017_100"
    few.mkdir()
    (few / "000000000139.png").symlink_to("../panoptic_stuff_val2017/000000000139.png")
    name = "coco_2017_val_100_panoptic_stuffonly"
    assert [record.path.stem for record in load_dataset(spec(name)).images] == ["000000000139"]
    (root.parent / "secret.png").write_bytes((few / "000000000139.png").read_bytes())
    (few / "000000000285.png").symlink_to("../../secret.png")
    with pytest.raises(DatasetError, match="lies outside"):
        load_dataset(spec(name))


def test_the_digest_covers_images_and_labels(root: Path) -> None:
    before = load_dataset(spec()).digest
    pixels = np.zeros((6, 8), np.uint8)
    Image.fromarray(pixels).save(root / "panoptic_stuff_val2017/000000000139.png")
    changed = load_dataset(spec()).digest
    Image.new("RGB", (8, 6), (1, 2, 3)).save(root / "val2017/000000000139.jpg")
    assert len({before, changed, load_dataset(spec()).digest}) == 3


def test_folders_that_do_not_belong_together_are_refused(root: Path) -> None:
    for file in (root / "panoptic_stuff_val2017").iterdir():
        file.unlink()
    with pytest.raises(DatasetError, match="holds no PNG called as an image") as refused:
        load_dataset(spec())
    assert "\n" not in str(refused.value)


def test_a_label_beyond_the_54_is_refused(root: Path) -> None:
    Image.fromarray(np.full((6, 8), 54, np.uint8)).save(root / "panoptic_stuff_val2017/000000000139.png")
    with pytest.raises(DatasetError, match=r"has the label 54, but there are 54 classes"):
        load_dataset(spec())
