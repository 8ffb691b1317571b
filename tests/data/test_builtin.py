"""detectron2's datasets by name, as its release 0.5 registers them (data/datasets/builtin.py)."""

from pathlib import Path

import pytest

from roastery.data.builtin import (
    BUILTIN,
    VARIABLE,
    builtin_dataset,
    datasets_folder,
    is_there,
    named_dataset,
    names_like,
    require_files,
)
from roastery.errors import ConfigError, DatasetError
from roastery.spec import DatasetSpec

_FAMILIES = """
coco_2014_train coco_2014_val coco_2014_minival coco_2014_minival_100 coco_2014_valminusminival
coco_2017_train coco_2017_val coco_2017_test coco_2017_test-dev coco_2017_val_100
keypoints_coco_2014_train keypoints_coco_2014_val keypoints_coco_2014_minival keypoints_coco_2014_valminusminival
keypoints_coco_2014_minival_100 keypoints_coco_2017_train keypoints_coco_2017_val keypoints_coco_2017_val_100
coco_2017_train_panoptic coco_2017_train_panoptic_separated coco_2017_train_panoptic_stuffonly
coco_2017_val_panoptic coco_2017_val_panoptic_separated coco_2017_val_panoptic_stuffonly
coco_2017_val_100_panoptic coco_2017_val_100_panoptic_separated coco_2017_val_100_panoptic_stuffonly
lvis_v1_train lvis_v1_val lvis_v1_test_dev lvis_v1_test_challenge
lvis_v0.5_train lvis_v0.5_val lvis_v0.5_val_rand_100 lvis_v0.5_test lvis_v0.5_train_cocofied lvis_v0.5_val_cocofied
cityscapes_fine_instance_seg_train cityscapes_fine_instance_seg_val cityscapes_fine_instance_seg_test
cityscapes_fine_sem_seg_train cityscapes_fine_sem_seg_val cityscapes_fine_sem_seg_test
voc_2007_trainval voc_2007_train voc_2007_val voc_2007_test voc_2012_trainval voc_2012_train voc_2012_val
"""
NAMES = _FAMILIES.split()


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    return tmp_path


def test_every_name_of_detectron2s_is_known() -> None:
    assert sorted(BUILTIN) == sorted(NAMES)


@pytest.mark.parametrize(
    ("name", "format", "images", "annotations"),
    [
        ("coco_2017_val", "coco", "coco/val2017", "coco/annotations/instances_val2017.json"),
        ("coco_2017_val_100", "coco", "coco/val2017", "coco/annotations/instances_val2017_100.json"),
        ("coco_2014_minival", "coco", "coco/val2014", "coco/annotations/instances_minival2014.json"),
        ("coco_2017_test-dev", "coco", "coco/test2017", "coco/annotations/image_info_test-dev2017.json"),
        ("keypoints_coco_2017_val", "coco", "coco/val2017", "coco/annotations/person_keypoints_val2017.json"),
        ("lvis_v1_val", "lvis", "coco", "lvis/lvis_v1_val.json"),
        ("lvis_v1_test_dev", "lvis", "coco", "lvis/lvis_v1_image_info_test_dev.json"),
        ("cityscapes_fine_instance_seg_val", "cityscapes", "cityscapes/leftImg8bit/val", "cityscapes/gtFine/val"),
        ("coco_2017_val_panoptic_stuffonly", "coco_stuff", "coco/val2017", "coco/panoptic_stuff_val2017"),
        ("coco_2017_val_100_panoptic_stuffonly", "coco_stuff", "coco/val2017", "coco/panoptic_stuff_val2017_100"),
        ("cityscapes_fine_sem_seg_val", "cityscapes_sem_seg", "cityscapes/leftImg8bit/val", "cityscapes/gtFine/val"),
        ("voc_2007_test", "pascal_voc", "VOC2007/JPEGImages", "VOC2007/ImageSets/Main/test.txt"),
    ],
)
def test_a_name_leads_to_detectron2s_places(root: Path, name: str, format: str, images: str, annotations: str) -> None:
    spec = builtin_dataset(name)
    assert spec is not None
    assert (spec.name, spec.format) == (name, format)
    assert (spec.images, spec.annotations) == (root / images, root / annotations)


@pytest.mark.parametrize("form", ["panoptic", "panoptic_separated"])
def test_panoptic_names_have_segments_and_labels_beside_the_instances(root: Path, form: str) -> None:
    spec = builtin_dataset(f"coco_2017_val_100_{form}")
    assert spec is not None
    assert spec.annotations == root / "coco/annotations/instances_val2017_100.json"
    assert spec.panoptic == root / "coco/annotations/panoptic_val2017_100.json"
    assert spec.panoptic_masks == root / "coco/panoptic_val2017_100"
    assert spec.sem_seg == root / "coco/panoptic_stuff_val2017_100"


def test_the_folder_is_the_variables_else_datasets_beside_where_one_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/somebody")
    for said, meant in (("/data", "/data"), ("~/data", "/home/somebody/data"), ("data", str(tmp_path / "data"))):
        monkeypatch.setenv(VARIABLE, said)
        assert datasets_folder() == Path(meant)
    monkeypatch.delenv(VARIABLE)
    assert datasets_folder() == tmp_path / "datasets"


def test_an_address_is_no_folder_and_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "https://user:secret@bucket/data")
    with pytest.raises(ConfigError, match="is an address; name a folder") as raised:
        builtin_dataset("coco_2017_val")
    assert "secret" not in str(raised.value)


def test_a_registered_dataset_goes_before_detectron2s_of_the_same_name(root: Path) -> None:
    own = DatasetSpec(name="coco_2017_val", images=root / "mine", annotations=root / "mine.json")
    assert named_dataset("coco_2017_val", {"coco_2017_val": own}) is own
    assert named_dataset("coco_2017_val", {}) == builtin_dataset("coco_2017_val")
    assert named_dataset("other", {"coco_2017_val": own}) is None


def test_names_near_an_unknown_one_are_told_registered_or_not(root: Path) -> None:
    own = DatasetSpec(name="coco_2017_mine", images=root, annotations=root)
    near = names_like("coco_2017_vall", {"coco_2017_mine": own})
    assert near.startswith("; near it are coco_2017_val")
    assert "coco_2017_mine" in names_like("coco_2017_mien", {"coco_2017_mine": own})
    assert names_like("street_signs", {}) == ""


@pytest.mark.parametrize("name", NAMES)
def test_what_is_missing_is_named_one_after_another_with_what_to_put_where(root: Path, name: str) -> None:
    spec = builtin_dataset(name)
    assert spec is not None
    told = []
    while not is_there(spec):
        with pytest.raises(DatasetError) as raised:
            require_files(spec)
        message = str(raised.value)
        assert message.startswith(f"{name}: {root}/")
        assert "\n" not in message
        assert f"{VARIABLE} ({root})" in message
        assert "detectron2's datasets/README.md" in message
        missing = Path(message.removeprefix(f"{name}: ").split(" is not there; ")[0])
        told.append(missing)
        missing.parent.mkdir(parents=True, exist_ok=True)
        missing.touch()
    assert len(told) == len({*told}) >= 2
    require_files(spec)


def test_the_line_of_a_missing_file_is_this_one(root: Path, tmp_path: Path) -> None:
    spec = builtin_dataset("coco_2017_val")
    assert spec is not None
    with pytest.raises(DatasetError) as raised:
        require_files(spec)
    assert str(raised.value) == (
        f"coco_2017_val: {root}/coco/annotations/instances_val2017.json is not there; unpack COCO's 2017 train and val "
        "annotations into $DETECTRON2_DATASETS/coco. The dataset is coco/annotations/instances_val2017.json, "
        f"coco/val2017 in DETECTRON2_DATASETS ({root}); see detectron2's datasets/README.md"
    )


def test_that_the_variable_is_not_set_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    spec = builtin_dataset("voc_2007_test")
    assert spec is not None
    with pytest.raises(DatasetError, match=r"DETECTRON2_DATASETS is not set, which means \./datasets; see"):
        require_files(spec)


def test_a_registered_dataset_is_not_asked_for_detectron2s_places(root: Path) -> None:
    own = DatasetSpec(name="coco_2017_val", images=root / "mine", annotations=root / "mine.json")
    require_files(own)
    assert is_there(own)
