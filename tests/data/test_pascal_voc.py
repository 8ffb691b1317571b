"""VOC's annotations as COCO's: detectron2's classes and boxes, and difficult objects that do not count."""

from pathlib import Path

import pytest
from PIL import Image

from roastery.data.dataset import load_dataset
from roastery.errors import DatasetError
from roastery.evaluation.coco import evaluate_coco
from roastery.spec import DatasetSpec

XML = """<annotation><filename>{name}.jpg</filename><size><width>60</width><height>40</height><depth>3</depth></size>
{objects}</annotation>"""
OBJECT = """<object><name>{label}</name><difficult>{difficult}</difficult><bndbox><xmin>{box[0]}</xmin>
<ymin>{box[1]}</ymin><xmax>{box[2]}</xmax><ymax>{box[3]}</ymax></bndbox>
<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></part></object>"""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """VOC 2007's tree with two images: a dog and a difficult cat in the first, a television in the second."""
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    folder = tmp_path / "VOC2007"
    for name in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (folder / name).mkdir(parents=True)
    found = {
        "000009": [("dog", 0, (1, 1, 20, 10)), ("cat", 1, (31, 11, 60, 40))],
        "000004": [("tvmonitor", 0, (11, 21, 30, 40))],
    }
    for name, objects in found.items():
        Image.new("RGB", (60, 40)).save(folder / "JPEGImages" / f"{name}.jpg")
        xml = "".join(OBJECT.format(label=label, difficult=difficult, box=box) for label, difficult, box in objects)
        (folder / "Annotations" / f"{name}.xml").write_text(XML.format(name=name, objects=xml))
    (folder / "ImageSets/Main/test.txt").write_text("".join(f"{name}\n" for name in found))
    return folder


def spec() -> DatasetSpec:
    from roastery.data.builtin import builtin_dataset

    found = builtin_dataset("voc_2007_test")
    assert found is not None
    return found


def test_classes_images_and_boxes_are_detectron2s(root: Path) -> None:
    dataset = load_dataset(spec())
    # Source: CLASS_NAMES of detectron2's pascal_voc.py.
    assert len(dataset.class_names) == 20
    assert (dataset.class_names[0], dataset.class_names[11], dataset.class_names[19]) == (
        "aeroplane",
        "dog",
        "tvmonitor",
    )
    assert dataset.category_ids == tuple(range(1, 21))
    # In the list's order, whatever the names are.
    assert [(image.id, image.path.name) for image in dataset.images] == [(1, "000009.jpg"), (2, "000004.jpg")]
    assert {(image.height, image.width) for image in dataset.images} == {(40, 60)}
    dog, cat, television = dataset.content["annotations"]
    # xmin and ymin less 1: a box from 1 to the width is the whole image.
    assert (dog["category_id"], dog["bbox"], dog["area"], dog["iscrowd"]) == (12, [0, 0, 20, 10], 200, 0)
    assert (cat["category_id"], cat["bbox"], cat["iscrowd"]) == (8, [30, 10, 30, 30], 1)
    assert (television["image_id"], television["category_id"], television["bbox"]) == (2, 20, [10, 20, 20, 20])


def test_a_difficult_object_is_neither_missed_nor_wrongly_found(root: Path) -> None:
    dataset = load_dataset(spec())
    easy = [
        {"image_id": each["image_id"], "category_id": each["category_id"], "bbox": each["bbox"], "score": 0.9}
        for each in dataset.content["annotations"]
        if not each["iscrowd"]
    ]
    cat = {"image_id": 1, "category_id": 8, "bbox": [30, 10, 30, 30], "score": 0.9}
    for results in (easy, [*easy, cat]):
        figures = evaluate_coco(dataset, results, ["bbox"])["bbox"]
        assert (figures["AP"], figures["AP-dog"], figures["AP-tvmonitor"]) == pytest.approx((100, 100, 100))
        assert figures["AP-cat"] != figures["AP-cat"], "there is no cat that counts"


def test_the_digest_covers_list_annotations_and_images(root: Path) -> None:
    digests = [load_dataset(spec()).digest]
    for file, content in (
        ("Annotations/000004.xml", (root / "Annotations/000004.xml").read_text().replace("<xmin>11", "<xmin>12")),
        ("ImageSets/Main/test.txt", "000004\n000009\n"),
    ):
        (root / file).write_text(content)
        digests.append(load_dataset(spec()).digest)
    Image.new("RGB", (60, 40), "red").save(root / "JPEGImages/000004.jpg")
    digests.append(load_dataset(spec()).digest)
    assert len({*digests}) == 4


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (("<name>dog", "<name>unicorn"), r"000009\.xml: has an object of class 'unicorn', which is none of VOC's 20"),
        (("<xmin>1<", "<xmin>one<"), r"000009\.xml: object has no number bndbox/xmin; correct"),
        (("<width>60</width>", ""), r"000009\.xml: annotation has no number size/width"),
        (("</annotation>", ""), r"000009\.xml: it is not XML"),
        (("<annotation>", "<!DOCTYPE a [<!ENTITY b 'c'>]><annotation>"), r"000009\.xml: it has a DOCTYPE"),
    ],
)
def test_annotations_that_are_not_vocs_are_refused_in_one_line(
    root: Path, change: tuple[str, str], problem: str
) -> None:
    file = root / "Annotations/000009.xml"
    file.write_text(file.read_text().replace(*change, 1))
    with pytest.raises(DatasetError, match=problem) as raised:
        load_dataset(spec())
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("listed", "problem"),
    [
        ("", "names no image"),
        ("000004\n000004\n", "names an image twice"),
        ("../../secret\n", "is no image's name"),
        ("000005\n", r"Annotations: 1 of 1 annotations are missing: 000005\.xml; restore"),
    ],
)
def test_a_list_that_leads_nowhere_is_refused(root: Path, listed: str, problem: str) -> None:
    (root / "ImageSets/Main/test.txt").write_text(listed)
    with pytest.raises(DatasetError, match=problem):
        load_dataset(spec())


def test_an_image_that_is_missing_is_named(root: Path) -> None:
    (root / "JPEGImages/000004.jpg").unlink()
    with pytest.raises(DatasetError, match=r"JPEGImages: 1 of 2 images are missing: 000004\.jpg"):
        load_dataset(spec())
