"""Cityscapes: instances out of PNGs of ids, with detectron2's classes, and semantic labels."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as mask_api

from roastery.data.builtin import builtin_dataset
from roastery.data.dataset import load_dataset
from roastery.errors import DatasetError
from roastery.evaluation.coco import evaluate_coco
from roastery.evaluation.segments import segment_rows
from roastery.evaluation.side_by_side import measure_found
from roastery.results import Measures
from roastery.spec import DatasetSpec

SIZE = (20, 30)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two cities with an image each: cars, a bicycle and a crowd in Bonn's, a licence plate and a road in Aachen's."""
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    ids = np.zeros(SIZE, np.uint16)
    ids[2:6, 3:9] = 26000
    ids[10:20, 0:5] = 26001
    ids[8:9, 8:28] = 33012
    ids[0:2, 20:30] = 24  # persons that are not told apart
    write(tmp_path, "bonn", "bonn_000001_000019", ids)
    other = np.full(SIZE, 7, np.uint16)
    other[0, 0] = 29000  # a caravan, which does not count
    write(tmp_path, "aachen", "aachen_000003_000019", other)
    return tmp_path / "cityscapes"


def write(root: Path, city: str, stem: str, ids: np.ndarray) -> None:
    images, truth = (root / "cityscapes" / kind / "val" / city for kind in ("leftImg8bit", "gtFine"))
    for folder in (images, truth):
        folder.mkdir(parents=True)
    Image.new("RGB", SIZE[::-1]).save(images / f"{stem}_leftImg8bit.png")
    Image.fromarray(ids).save(truth / f"{stem}_gtFine_instanceIds.png")
    labels = np.where(ids == 7, 0, 255).astype(np.uint8)
    Image.fromarray(labels).save(truth / f"{stem}_gtFine_labelTrainIds.png")


def spec(task: str) -> DatasetSpec:
    found = builtin_dataset(f"cityscapes_fine_{task}_val")
    assert found is not None
    return found


def test_instances_have_detectron2s_classes_and_the_pixels_of_their_ids(root: Path) -> None:
    dataset = load_dataset(spec("instance_seg"))
    # Source: CITYSCAPES_THING_CLASSES of detectron2's builtin_meta.py; ids of cityscapesscripts' labels.py.
    classes = ("person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle")
    assert dataset.class_names == classes
    assert dataset.category_ids == (24, 25, 26, 27, 28, 31, 32, 33)
    assert [image.path.name.split("_")[0] for image in dataset.images] == ["aachen", "bonn"]
    assert [(image.id, image.height, image.width) for image in dataset.images] == [(1, *SIZE), (2, *SIZE)]
    annotations = dataset.content["annotations"]
    assert [
        (each["image_id"], each["category_id"], each["bbox"], each["area"], each["iscrowd"]) for each in annotations
    ] == [
        (2, 24, [20, 0, 10, 2], 20, 1),
        (2, 26, [3, 2, 6, 4], 24, 0),
        (2, 26, [0, 10, 5, 10], 50, 0),
        (2, 33, [8, 8, 20, 1], 20, 0),
    ]
    car = mask_api.decode(annotations[1]["segmentation"])
    assert car.shape == SIZE
    assert car[2:6, 3:9].all()
    assert car.sum() == 24


def test_the_annotations_as_detections_have_ap_100(root: Path) -> None:
    dataset = load_dataset(spec("instance_seg"))
    found = [
        {key: each[key] for key in ("image_id", "category_id", "bbox", "segmentation")} | {"score": 0.5}
        for each in dataset.content["annotations"]
    ]
    metrics = evaluate_coco(dataset, found)
    for iou_type in ("bbox", "segm"):
        # The crowd of persons does not count.
        for name in ("AP", "AP-car", "AP-bicycle"):
            assert metrics[iou_type][name] == pytest.approx(100)


def test_semantic_labels_have_detectron2s_names(root: Path) -> None:
    dataset = load_dataset(spec("sem_seg"))
    assert dataset.sem_seg is not None
    # Source: CITYSCAPES_STUFF_CLASSES of detectron2's builtin_meta.py.
    assert len(dataset.sem_seg.label_names) == 19
    assert (dataset.sem_seg.label_names[0], dataset.sem_seg.label_names[10:12]) == ("road", ("sky", "person"))
    assert dataset.sem_seg.image_ids == (1, 2)
    assert (*np.unique(dataset.sem_seg.labels(1)),) == (0, 255)
    with pytest.raises(DatasetError, match="no image with id 3"):
        dataset.sem_seg.labels(3)


def test_a_model_of_labels_alone_is_measured_by_them(root: Path) -> None:
    dataset = load_dataset(spec("sem_seg"))
    assert dataset.sem_seg is not None
    nothing = np.zeros(SIZE, np.int64)
    # The whole of Aachen but its first pixel is road; of that half is found, and sidewalk in the other half. Of Bonn
    # nothing counts.
    found = nothing.copy()
    found[10:] = 1
    rows = segment_rows(1, nothing, [], found, dataset.sem_seg) + segment_rows(2, nothing, [], found, dataset.sem_seg)
    figures = measure_found(dataset, [], rows, Measures(iou_types=("sem_seg",))).metrics
    road = 299 / 599
    assert figures["sem_seg"]["IoU-road"] == figures["sem_seg"]["pACC"] == pytest.approx(100 * road)
    assert figures["sem_seg"]["mIoU"] == pytest.approx(100 * road / 2)
    with pytest.raises(DatasetError, match=r"the model found label 19, but .*gtFine/val has the labels 0 to 18"):
        segment_rows(1, nothing, [], nothing + 19, dataset.sem_seg)
    with pytest.raises(DatasetError, match="has no panoptic annotations, by which a panoptic model is measured"):
        measure_found(dataset, [], rows, Measures(iou_types=("panoptic_seg", "sem_seg")))


def test_a_model_of_objects_is_not_measured_by_labels_of_pixels(root: Path) -> None:
    with pytest.raises(DatasetError, match="cityscapes_fine_sem_seg_val: has no objects, only labels of pixels"):
        evaluate_coco(load_dataset(spec("sem_seg")), [])


@pytest.mark.parametrize("task", ["instance_seg", "sem_seg"])
def test_the_digest_covers_the_pngs_that_are_read(root: Path, task: str) -> None:
    before = load_dataset(spec(task)).digest
    for file in (root / "gtFine/val/aachen").iterdir():
        pixels = np.array(Image.open(file))
        pixels[5, 5] = 24 if pixels.dtype == np.uint16 else 3
        Image.fromarray(pixels).save(file)
    assert load_dataset(spec(task)).digest != before


@pytest.mark.parametrize(
    ("task", "missing", "way"),
    [("instance_seg", "instanceIds", "unpack all of gtFine"), ("sem_seg", "labelTrainIds", "createTrainIdLabelImgs")],
)
def test_a_png_that_is_missing_is_named_with_the_way_to_it(root: Path, task: str, missing: str, way: str) -> None:
    next(root.glob(f"gtFine/val/bonn/*{missing}.png")).unlink()
    with pytest.raises(DatasetError, match=rf"bonn_000001_000019_gtFine_{missing}\.png: is not there; .*{way}"):
        load_dataset(spec(task))


def test_a_folder_without_images_is_refused(root: Path) -> None:
    for image in root.glob("leftImg8bit/val/*/*"):
        image.unlink()
    with pytest.raises(DatasetError, match=r"val: holds no CITY/\*_leftImg8bit\.png; unpack Cityscapes' leftImg8bit"):
        load_dataset(spec("instance_seg"))


def test_a_damaged_png_is_found_when_the_dataset_is_looked_at(root: Path) -> None:
    file = next(root.glob("gtFine/val/bonn/*instanceIds.png"))
    file.write_bytes(file.read_bytes()[:50])
    assert len(load_dataset(spec("instance_seg"), decode=False).images) == 2
    with pytest.raises(DatasetError, match="cannot be read as a PNG"):
        load_dataset(spec("instance_seg"))
    file.write_bytes(b"no PNG at all, but long enough")
    with pytest.raises(DatasetError, match="it does not begin as one"):
        load_dataset(spec("instance_seg"), decode=False)


def test_a_label_without_a_name_is_refused(root: Path) -> None:
    Image.fromarray(np.full(SIZE, 19, np.uint8)).save(next(root.glob("gtFine/val/bonn/*labelTrainIds.png")))
    with pytest.raises(DatasetError, match="has the label 19, but there are 19 classes; label what does not count 255"):
        load_dataset(spec("sem_seg"))
