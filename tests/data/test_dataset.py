"""A registered dataset on the disk: boxes, and panoptic annotations of the same images."""

import json
import re
import shutil
from pathlib import Path

import pytest

from roastery.data.builtin import builtin_dataset
from roastery.data.dataset import load_dataset, load_sampled_from
from roastery.data.sampling import sample_images
from roastery.errors import ConfigError, DatasetError
from roastery.evaluation.coco import evaluate_coco
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


def test_panoptic_annotations_are_of_cocos_format_alone(tmp_path: Path) -> None:
    (tmp_path / "d.yaml").write_text(
        "name: d\nformat: lvis\nimages: i\nannotations: a.json\npanoptic: p.json\npanoptic_masks: m\nsem_seg: s\n"
    )
    with pytest.raises(ConfigError, match="panoptic_masks and sem_seg are of COCO's format, not lvis; leave them out"):
        load_datasets(tmp_path)


def test_the_six_lines_of_the_docs_are_a_dataset_to_evaluate_on(shapes: Path, tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs/how-to/datasets.md").read_text(encoding="utf-8")
    found = re.search(r'```yaml title="(configs/datasets/\S+)"\n(.+?)```', page, re.DOTALL)
    assert found is not None
    place, text = found.groups()
    assert len(text.splitlines()) == 6
    (tmp_path / place).parent.mkdir(parents=True)
    (tmp_path / place).write_text(text)
    (tmp_path / "data/street").mkdir(parents=True)
    for ours, theirs in (("val", "val"), ("sample", "train")):
        (tmp_path / "data/street" / theirs).symlink_to(shapes / ours)
    spec = load_datasets((tmp_path / place).parent)["street_val"]
    dataset = load_dataset(spec)
    results = [
        {key: each[key] for key in ("image_id", "category_id", "bbox", "segmentation")} | {"score": 1.0}
        for each in dataset.content["annotations"]
    ]
    figures = evaluate_coco(dataset, results)
    assert (figures["bbox"]["AP"], figures["segm"]["AP"]) == pytest.approx((100, 100))
    assert len(load_sampled_from(spec).images) == 48


def test_links_among_the_files_lead_where_the_dataset_says_and_no_further(
    shapes: Path, spec: DatasetSpec, tmp_path: Path
) -> None:
    linked = tmp_path / "images"
    linked.mkdir()
    for image in spec.images.iterdir():
        (linked / image.name).symlink_to(image)
    linking = boxes_alone(spec).model_copy(update={"images": linked})
    with pytest.raises(DatasetError, match="lies outside the image folder"):
        load_dataset(linking)
    allowed = linking.model_copy(update={"links_into": shapes})
    assert load_dataset(allowed).digest == load_dataset(boxes_alone(spec)).digest
    content = json.loads(spec.annotations.read_text())
    content["images"][0]["file_name"] = str(spec.images / content["images"][0]["file_name"])
    (tmp_path / "absolute.json").write_text(json.dumps(content))
    with pytest.raises(DatasetError, match="lies outside the image folder"):
        load_dataset(allowed.model_copy(update={"annotations": tmp_path / "absolute.json"}))


def test_coco_2017_val_100s_panoptic_pngs_are_links_as_detectron2s_script_makes_them(
    spec: DatasetSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Source: detectron2's datasets/prepare_panoptic_fpn.py, link_val100.
    assert spec.panoptic is not None
    assert spec.panoptic_masks is not None
    assert spec.sem_seg is not None
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    coco = tmp_path / "coco"
    shutil.copytree(spec.images, coco / "val2017")
    (coco / "annotations").mkdir()
    shutil.copyfile(spec.annotations, coco / "annotations/instances_val2017_100.json")
    shutil.copyfile(spec.panoptic, coco / "annotations/panoptic_val2017_100.json")
    for name, folder in (("panoptic", spec.panoptic_masks), ("panoptic_stuff", spec.sem_seg)):
        shutil.copytree(folder, coco / f"{name}_val2017")
        (coco / f"{name}_val2017_100").mkdir()
        for png in folder.iterdir():
            (coco / f"{name}_val2017_100" / png.name).symlink_to(Path("..") / f"{name}_val2017" / png.name)
    builtin = builtin_dataset("coco_2017_val_100_panoptic_separated")
    assert builtin is not None
    assert load_dataset(builtin, decode=False).digest == load_dataset(spec, decode=False).digest


def test_no_image_is_opened_before_a_model_sees_it(spec: DatasetSpec, tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for image in spec.images.iterdir():
        (images / image.name).touch()  # empty: no image could be read out of it
    dataset = load_dataset(boxes_alone(spec).model_copy(update={"images": images}))
    assert len(sample_images(dataset, 16, 0)) == 16


def test_panoptic_annotations_without_their_folders_are_refused_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "half.yaml").write_text("name: half\nimages: i\nannotations: a.json\npanoptic: p.json\n")
    with pytest.raises(ConfigError, match="panoptic, panoptic_masks and sem_seg go together") as raised:
        load_datasets(tmp_path)
    assert "\n" not in str(raised.value)
