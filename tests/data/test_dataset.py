"""A registered dataset on the disk: boxes, and panoptic annotations of the same images."""

import json
from pathlib import Path

import pytest

from roastery.data.dataset import load_dataset, load_sampled_from
from roastery.errors import ConfigError, DatasetError
from roastery.spec import DatasetSpec, load_datasets


@pytest.fixture
def spec(shapes: Path) -> DatasetSpec:
    val = shapes / "val"
    return DatasetSpec(
        name="panoptic",
        images=val / "images",
        annotations=val / "instances.json",
        panoptic=val / "panoptic.json",
        panoptic_masks=val / "panoptic",
        sem_seg=val / "sem_seg",
        sample_images=shapes / "sample/images",
        sample_annotations=shapes / "sample/instances.json",
    )


def boxes_alone(spec: DatasetSpec) -> DatasetSpec:
    return spec.model_copy(update={"panoptic": None, "panoptic_masks": None, "sem_seg": None})


def test_a_dataset_has_its_segments_where_they_are_annotated(spec: DatasetSpec) -> None:
    dataset = load_dataset(spec, decode=False)
    assert dataset.panoptic is not None
    assert dataset.panoptic.thing_ids == dataset.category_ids == (1, 2, 3)
    assert dataset.panoptic.stuff_ids == (4, 5)
    assert load_dataset(boxes_alone(spec)).panoptic is None


def test_its_digest_covers_the_segments(spec: DatasetSpec, tmp_path: Path) -> None:
    assert spec.panoptic is not None
    content = json.loads(spec.panoptic.read_text())
    (tmp_path / "other.json").write_text(json.dumps(content, indent=1))
    other = spec.model_copy(update={"panoptic": tmp_path / "other.json"})
    digests = {load_dataset(each, decode=False).digest for each in (spec, other, boxes_alone(spec))}
    assert len(digests) == 3


def test_what_is_sampled_from_are_the_other_images(spec: DatasetSpec) -> None:
    assert len(load_sampled_from(spec).images) == 48


def test_an_image_that_has_boxes_and_no_segments_is_refused(spec: DatasetSpec, tmp_path: Path) -> None:
    assert spec.panoptic is not None
    content = json.loads(spec.panoptic.read_text())
    content["images"] = content["images"][1:]
    content["annotations"] = content["annotations"][1:]
    (tmp_path / "fewer.json").write_text(json.dumps(content))
    with pytest.raises(DatasetError, match=r"fewer\.json: lacks image 1 of"):
        load_dataset(spec.model_copy(update={"panoptic": tmp_path / "fewer.json"}), decode=False)


def test_other_things_than_the_boxes_are_of_are_refused(spec: DatasetSpec, tmp_path: Path) -> None:
    assert spec.panoptic is not None
    content = json.loads(spec.panoptic.read_text())
    content["categories"][3]["isthing"] = 1
    (tmp_path / "sky.json").write_text(json.dumps(content))
    with pytest.raises(DatasetError, match=r"its things are the categories \[1, 2, 3, 4\]"):
        load_dataset(spec.model_copy(update={"panoptic": tmp_path / "sky.json"}), decode=False)


def test_panoptic_annotations_without_their_folders_are_refused_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "half.yaml").write_text("name: half\nimages: i\nannotations: a.json\npanoptic: p.json\n")
    with pytest.raises(ConfigError, match="panoptic, panoptic_masks and sem_seg go together") as raised:
        load_datasets(tmp_path)
    assert "\n" not in str(raised.value)
