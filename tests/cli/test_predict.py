import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import roastery.prediction.output
import roastery.prediction.predict
from cli.main import app
from roastery.caffe2.model import Caffe2Model
from roastery.caffe2.nets import load_nets, save_nets
from roastery.config import load_config
from roastery.data.coco import load_coco
from roastery.errors import OperatorError
from roastery.evaluation.coco import evaluate_coco
from roastery.structures import Boxes, Instances

ROOT = Path(__file__).parents[2]
NAMES = "circle,square,triangle"


@pytest.fixture
def predict():
    """`roastery predict` in this process."""

    def run(*arguments):
        return CliRunner().invoke(app, ["predict", *(str(argument) for argument in arguments)])

    return run


@pytest.fixture(scope="session")
def boxes(converted, box_model):
    """A converted model's folder: one that finds boxes alone."""
    return converted(box_model.name)


@pytest.fixture(scope="session")
def masks(converted, mask_model):
    """A converted model's folder: one that finds masks too."""
    return converted(mask_model.name)


@pytest.fixture(scope="session")
def demo(converted, shapes):
    """A converted demo model's folder, of the first whose config has the property."""

    def find(has):
        folders = sorted(file.parent for file in shapes.glob("*/config.yaml"))
        return converted(next(folder.name for folder in folders if has(load_config(folder / "config.yaml").MODEL)))

    return find


@pytest.fixture
def images(shapes, tmp_path):
    """A folder of three images of the dataset."""
    folder = tmp_path / "images"
    folder.mkdir()
    for name in ("000001.jpg", "000003.jpg", "000020.jpg"):
        shutil.copyfile(shapes / "val/images" / name, folder / name)
    return folder


def done(result, code=0):
    assert result.exit_code == code, (result.exit_code, result.output, result.exception)
    return True


def refused(result, *words):
    """One line on stderr that holds the words, and exit code 2."""
    assert done(result, 2)
    assert len(result.stderr.splitlines()) == 1, result.stderr
    for word in words:
        assert word in result.stderr
    return True


def files(folder):
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def found_by(model, image):
    """What a model finds in an image of its size, prepared as its net says; by hand."""
    from roastery.data.preprocess import read_image, resize_shortest_edge

    pixels = read_image(image, "BGR")
    resized = torch.from_numpy(resize_shortest_edge(pixels, 160, 256).transpose(2, 0, 1).astype(np.float32))
    with Caffe2Model.load_protobuf(model) as net:
        return net([{"image": resized, "height": pixels.shape[0], "width": pixels.shape[1]}])[0]["instances"]


def test_each_image_has_a_picture_and_a_line(predict, masks, images, tmp_path):
    result = predict(masks, images, "-o", tmp_path / "out", "--class-names", NAMES)

    assert done(result)
    assert files(tmp_path / "out") == ["000001.png", "000003.png", "000020.png"]
    lines = result.stdout.splitlines()
    assert len(lines) == 4
    found = found_by(masks, images / "000020.jpg")
    drawn = int((found.scores >= 0.5).sum())
    assert drawn > 1
    expected = f"{images / '000020.jpg'}: {len(found)} detections, {drawn} drawn, "
    assert re.fullmatch(re.escape(expected) + r"\d+ ms", lines[2])
    assert lines[3] == f"3 images: pictures in {tmp_path / 'out'}"
    picture = Image.open(tmp_path / "out/000020.png")
    original = Image.open(images / "000020.jpg")
    assert max(picture.size) == 480
    zoom = picture.width / original.width
    # The outline of the surest is in one of the first three colours, at the corner of its box.
    left, top = (int(at * zoom) for at in found.pred_boxes.tensor[0, :2])
    assert picture.getpixel((left, top + 3)) in {(230, 159, 0), (0, 114, 178), (0, 158, 115)}
    # Far from every box the image is as it was.
    resized = original.resize(picture.size, Image.Resampling.BILINEAR)
    assert picture.getpixel((470, 370)) == resized.getpixel((470, 370))


def test_json_has_all_detections_of_all_images_with_the_ids_of_the_annotations(predict, masks, shapes, tmp_path):
    """What is found is worth what the evaluation says that the model is worth."""
    images = sorted((shapes / "val/images").iterdir())[10:20]
    annotations = shapes / "val/instances.json"

    result = predict(masks, *images, "--json", tmp_path / "found.json", "--annotations", annotations)

    assert done(result)
    assert result.stdout.splitlines()[-1] == f"10 images: COCO results in {tmp_path / 'found.json'}"
    assert "drawn" not in result.stdout
    results = json.loads((tmp_path / "found.json").read_text())
    assert any(each["score"] < 0.5 for each in results)
    ids = [int(image.stem) for image in images]
    assert {each["image_id"] for each in results} <= set(ids)
    dataset = load_coco("val", shapes / "val/images", annotations)
    figures = evaluate_coco(dataset, results, image_ids=ids)
    assert figures["bbox"]["AP"] > 50
    assert figures["segm"]["AP"] > 50
    assert files(tmp_path) == ["found.json"]


def test_without_annotations_images_and_classes_are_numbered(predict, boxes, images, tmp_path):
    order = [images / "000020.jpg", images / "000001.jpg"]

    assert done(predict(boxes, *order, "-o", tmp_path / "out", "--json", tmp_path / "out/found.json"))

    results = json.loads((tmp_path / "out/found.json").read_text())
    for number, image in enumerate(order, 1):
        found = found_by(boxes, image)
        of_image = [each for each in results if each["image_id"] == number]
        assert [each["category_id"] for each in of_image] == [label + 1 for label in found.pred_classes.tolist()]
    assert len(results) == sum(len(found_by(boxes, image)) for image in order)


def test_the_threshold_is_for_the_picture_alone(predict, boxes, images, tmp_path):
    image = images / "000020.jpg"
    for name, threshold in (("all", 0), ("none", 1)):
        where = ["-o", tmp_path / name, "--json", tmp_path / f"{name}.json"]
        result = predict(boxes, image, *where, "--threshold", threshold)
        count = len(found_by(boxes, image)) if name == "all" else 0
        assert f", {count} drawn," in result.stdout

    assert (tmp_path / "all.json").read_text() == (tmp_path / "none.json").read_text()
    plain = Image.open(image).resize(Image.open(tmp_path / "none/000020.png").size, Image.Resampling.BILINEAR)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "none/000020.png")), np.asarray(plain))
    assert not np.array_equal(np.asarray(Image.open(tmp_path / "all/000020.png")), np.asarray(plain))


@pytest.fixture
def prepared(monkeypatch):
    """The config by which each image was prepared."""
    configs = []
    genuine = roastery.prediction.predict.to_input
    monkeypatch.setattr(
        roastery.prediction.predict, "to_input", lambda image, config: configs.append(config) or genuine(image, config)
    )
    return configs


def test_a_net_of_the_original_converter_is_told_how_an_image_is_prepared(
    predict, any_golden, images, prepared, tmp_path
):
    options = ["--min-size", "160", "--max-size", "256", "--format", "BGR"]

    result = predict(any_golden, images / "000020.jpg", "-o", tmp_path / "out", *options)

    assert done(result)
    (config,) = prepared
    assert (config.INPUT.MIN_SIZE_TEST, config.INPUT.MAX_SIZE_TEST, config.INPUT.FORMAT) == (160, 256, "BGR")
    assert int(re.search(r", (\d+) drawn", result.stdout)[1]) > 1


def test_our_net_says_itself_how_an_image_is_prepared(predict, boxes, images, prepared, tmp_path):
    assert done(predict(boxes, images / "000020.jpg", "-o", tmp_path / "out"))

    (config,) = prepared
    assert (config.INPUT.MIN_SIZE_TEST, config.INPUT.MAX_SIZE_TEST, config.INPUT.FORMAT) == (160, 256, "BGR")


@pytest.mark.caffe2
def test_genuine_caffe2_finds_the_same(predict, masks, images, tmp_path):
    found = {}
    for runtime in ("torch", "caffe2"):
        assert done(predict(masks, images, "--json", tmp_path / f"{runtime}.json", "--runtime", runtime))
        found[runtime] = json.loads((tmp_path / f"{runtime}.json").read_text())

    assert len(found["torch"]) == len(found["caffe2"]) > 3
    for one, other in zip(found["torch"], found["caffe2"], strict=True):
        assert one["bbox"] == pytest.approx(other["bbox"], abs=0.01)
        assert one["category_id"] == other["category_id"]


def test_without_genuine_caffe2_asking_for_it_is_one_line(predict, boxes, images, monkeypatch, tmp_path):
    monkeypatch.setenv("CAFFE2_PYTHON", str(tmp_path / "no-python"))

    assert refused(predict(boxes, images, "-o", tmp_path / "out", "--runtime", "caffe2"), "no-python")
    assert files(tmp_path) == ["images"]


def test_an_image_that_cannot_be_read_is_named_and_the_others_are_done(predict, boxes, images, tmp_path):
    (images / "000002.jpg").write_text("no image")
    os.mkfifo(images / "pipe.jpg")
    given = [images, tmp_path / "none.jpg"]

    result = predict(boxes, *given, "-o", tmp_path / "out", "--json", tmp_path / "found.json")

    assert done(result, 2)
    assert len(result.stderr.splitlines()) == 4
    for line, name in zip(result.stderr.splitlines(), ("000002.jpg", "pipe.jpg", "none.jpg", ""), strict=True):
        assert line.startswith("roastery: ")
        assert name in line
    assert result.stderr.splitlines()[-1].startswith("roastery: 3 of 6 images could not be read")
    assert files(tmp_path / "out") == ["000001.png", "000003.png", "000020.png"]
    # The numbers are those of what was given.
    assert {each["image_id"] for each in json.loads((tmp_path / "found.json").read_text())} == {1, 3, 4}
    assert "3 images: " in result.stdout


def test_where_no_image_can_be_read_nothing_is_written(predict, boxes, tmp_path):
    result = predict(boxes, tmp_path / "none.jpg", "-o", tmp_path / "out", "--json", tmp_path / "found.json")

    assert done(result, 2)
    assert files(tmp_path) == []
    assert result.stdout == ""


def test_names_that_collide_are_told_apart_and_it_is_said(predict, boxes, images, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    shutil.copyfile(images / "000003.jpg", other / "000001.jpg")

    result = predict(boxes, images / "000001.jpg", other, images / "000001.jpg", "-o", tmp_path / "out")

    assert done(result)
    assert files(tmp_path / "out") == ["images_000001.png", "other_000001.png"]
    lines = result.stdout.splitlines()
    assert lines[0].endswith(" ms, as images_000001.png")
    assert lines[1].endswith(" ms, as other_000001.png")
    assert len(lines) == 3, "the one that is given twice is done once"
    sizes = [Image.open(tmp_path / f"out/{name}_000001.png").size for name in ("images", "other")]
    assert sizes[0] != sizes[1]


HOSTILE = "[red]\x1b]0;title\x07\x1b[2J[link=javascript:alert(1)]\n$(touch ran)\u202e"


def test_hostile_names_are_shown_as_they_are_and_lead_nowhere(predict, boxes, images, tmp_path):
    folder = tmp_path / HOSTILE.replace("/", "")
    folder.mkdir()
    (images / "000020.jpg").rename(folder / f"{HOSTILE}.jpg")
    (folder / f"{HOSTILE}2.jpg").write_text("no image")
    undecodable = os.fsdecode(os.fsencode(folder) + b"/\xff\xfe.jpg")
    (images / "000001.jpg").rename(undecodable)
    content = {
        "images": [{"id": 1, "file_name": "x"}],
        "categories": [{"id": number, "name": f"{HOSTILE}{number}"} for number in (1, 2, 3)],
    }
    (tmp_path / "names.json").write_text(json.dumps(content))

    result = predict(boxes, folder, "-o", tmp_path / HOSTILE, "--annotations", tmp_path / "names.json")

    assert done(result, 2)
    for line in [*result.stdout.splitlines(), *result.stderr.splitlines()]:
        assert line.isprintable(), line
    assert len(result.stdout.splitlines()) == 3
    assert len(result.stderr.splitlines()) == 2
    assert "[red]\ufffd" in result.stdout
    assert len([name for name in files(folder) if name.endswith(".png")]) == 2
    assert files(tmp_path) == sorted(["images", "names.json", folder.name])
    assert not Path("ran").exists()


def test_pictures_of_an_earlier_call_are_replaced_and_other_files_are_left(predict, boxes, images, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/thesis.tex").write_text("mine")
    for _ in range(2):
        assert done(predict(boxes, images / "000001.jpg", "-o", tmp_path / "out"))
    assert files(tmp_path / "out") == ["000001.png", "thesis.tex"]

    Image.new("RGB", (5, 5)).save(tmp_path / "out/000003.png")
    before = (tmp_path / "out/000003.png").read_bytes()
    assert refused(predict(boxes, images, "-o", tmp_path / "out"), "000003.png: is there, and no picture")
    assert (tmp_path / "out/000003.png").read_bytes() == before
    assert files(tmp_path / "out") == ["000001.png", "000003.png", "thesis.tex"]


def test_the_images_themselves_are_never_replaced(predict, boxes, images, tmp_path):
    Image.open(images / "000001.jpg").save(images / "own.png")
    before = (images / "own.png").read_bytes()

    assert refused(predict(boxes, images / "own.png", "-o", images), "own.png: is there, and no picture")
    assert (images / "own.png").read_bytes() == before


def test_annotations_are_not_overwritten_with_results(predict, boxes, images, shapes, tmp_path):
    shutil.copyfile(shapes / "val/instances.json", tmp_path / "instances.json")
    before = (tmp_path / "instances.json").read_bytes()
    given = ["--annotations", tmp_path / "instances.json", "--json", tmp_path / "instances.json"]

    assert refused(predict(boxes, images, *given), "instances.json: is there, and holds no COCO results")
    assert (tmp_path / "instances.json").read_bytes() == before


class Fails:
    """A model that fails at its second image."""

    def __init__(self, model):
        self.model = model
        self.calls = 0

    def __call__(self, inputs):
        self.calls += 1
        if self.calls == 2:
            raise OperatorError("RoIAlign: no such level")
        return self.model(inputs)


def test_a_model_that_fails_midway_leaves_whole_pictures_and_no_results(predict, boxes, images, monkeypatch, tmp_path):
    genuine = roastery.prediction.predict.predict
    monkeypatch.setattr(
        roastery.prediction.predict, "predict", lambda model, *arguments: genuine(Fails(model), *arguments)
    )
    (tmp_path / "found.json").write_text("[]")

    result = predict(boxes, images, "-o", tmp_path / "out", "--json", tmp_path / "found.json")

    assert done(result, 1)
    assert result.stderr == f"roastery: {images / '000003.jpg'}: RoIAlign: no such level\n"
    assert files(tmp_path / "out") == ["000001.png"]
    Image.open(tmp_path / "out/000001.png").load()
    assert (tmp_path / "found.json").read_text() == "[]"
    assert files(tmp_path) == ["found.json", "images", "out"]


def test_a_disk_that_is_full_midway_leaves_whole_pictures_alone(predict, boxes, images, monkeypatch, tmp_path):
    genuine = roastery.prediction.output.write_whole

    def write(path, content):
        if path.name == "000003.png":
            raise OSError(28, "No space left on device")
        genuine(path, content)

    monkeypatch.setattr(roastery.prediction.output, "write_whole", write)

    result = predict(boxes, images, "-o", tmp_path / "out", "--json", tmp_path / "found.json")

    assert refused(result, "no space is left on its disk", "What is written is whole")
    assert files(tmp_path / "out") == ["000001.png"]
    assert files(tmp_path) == ["images", "out"]


def test_a_real_models_keypoints_are_worth_what_they_are_drawn_for(predict, demo, shapes, tmp_path):
    images = sorted((shapes / "val/images").iterdir())[10:20]
    annotations = shapes / "val/keypoints.json"
    where = ["-o", tmp_path / "out", "--json", tmp_path / "found.json", "--annotations", annotations]

    assert done(predict(demo(lambda model: model.KEYPOINT_ON), *images, *where))

    results = json.loads((tmp_path / "found.json").read_text())
    dataset = load_coco("val", shapes / "val/images", annotations)
    ids = [int(image.stem) for image in images]
    assert evaluate_coco(dataset, results, ["keypoints"], ids, (0.05,) * 3)["keypoints"]["AP50"] > 50
    best = max(results, key=lambda each: each["score"])
    picture = Image.open(tmp_path / f"out/{best['image_id']:06d}.png")
    zoom = picture.width / Image.open(shapes / f"val/images/{best['image_id']:06d}.jpg").width
    points = np.reshape(best["keypoints"], (3, 3))[:, :2] + 0.5
    # The corners, and the middles of the sides.
    for x, y in [*points, *(points + points[[1, 2, 0]]) / 2]:
        assert picture.getpixel((int(x * zoom), int(y * zoom))) == (230, 159, 0)


def test_a_real_panoptic_models_segments_are_those_of_the_image(predict, demo, shapes, tmp_path):
    images = sorted((shapes / "val/images").iterdir())[10:14]
    annotations = shapes / "val/panoptic.json"
    where = ["-o", tmp_path / "out", "--json", tmp_path / "found.json", "--annotations", annotations]

    assert done(predict(demo(lambda model: model.META_ARCHITECTURE == "PanopticFPN"), *images, *where))

    assert len(files(tmp_path / "out")) == 2 * len(images)
    assert {each["image_id"] for each in json.loads((tmp_path / "found.json").read_text())} <= {11, 12, 13, 14}
    truths = {each["image_id"]: each for each in json.loads(annotations.read_text())["annotations"]}
    for number in (11, 12, 13, 14):
        ids = np.asarray(Image.open(tmp_path / f"out/{number:06d}.panoptic.png")).astype(int) @ [1, 256, 65536]
        true = np.asarray(Image.open(shapes / f"val/panoptic/{number:06d}.png").convert("RGB")).astype(int)
        # Sky and ground are found again, each as one segment.
        for category in (4, 5):
            (stuff,) = (each["id"] for each in truths[number]["segments_info"] if each["category_id"] == category)
            inside = true @ [1, 256, 65536] == stuff
            assert (ids[inside] == np.bincount(ids[inside]).argmax()).mean() > 0.8


def give(monkeypatch, found):
    """Whatever the net gives, the model gives this."""
    monkeypatch.setattr(Caffe2Model, "__call__", lambda self, inputs: [found])


def test_keypoints_are_joined_by_the_skeleton_of_the_annotations(predict, boxes, images, shapes, monkeypatch, tmp_path):
    points = torch.tensor([[[40.5, 30.5, 0.9], [80.5, 90.5, 0.9], [20.5, 90.5, 0.9]]])
    found = Instances(
        (180, 180),
        pred_boxes=Boxes(torch.tensor([[15.0, 25, 90, 95]])),
        scores=torch.tensor([0.9]),
        pred_classes=torch.tensor([0]),
        pred_keypoints=points,
    )
    give(monkeypatch, {"instances": found})
    given = [images / "000001.jpg", "--annotations", shapes / "val/keypoints.json"]

    result = predict(boxes, *given, "-o", tmp_path / "out", "--json", tmp_path / "found.json")

    assert done(result)
    picture = Image.open(tmp_path / "out/000001.png")
    zoom = picture.width / Image.open(images / "000001.jpg").width
    # Two of the points, and the middle of the line from the second to the third.
    for x, y in ((40.5, 30.5), (80.5, 90.5), (50.5, 90.5)):
        assert picture.getpixel((int(x * zoom), int(y * zoom))) == (230, 159, 0), (x, y)
    (each,) = json.loads((tmp_path / "found.json").read_text())
    assert (each["image_id"], each["category_id"]) == (1, 1)


def test_a_panoptic_models_segments_are_drawn_and_with_json_left_as_a_map(
    predict, boxes, images, shapes, monkeypatch, tmp_path
):
    width, height = Image.open(images / "000001.jpg").size
    ids = torch.zeros(height, width, dtype=torch.int32)
    ids[: height // 2] = 300
    ids[10:60, 10:60] = 1
    infos = [
        {"id": 1, "isthing": True, "category_id": 2, "score": 0.9},
        {"id": 300, "isthing": False, "category_id": 1},
    ]
    instances = Instances(
        (height, width),
        pred_boxes=Boxes(torch.tensor([[10.0, 10, 60, 60]])),
        scores=torch.tensor([0.9]),
        pred_classes=torch.tensor([2]),
    )
    sem_seg = torch.zeros(3, height, width)
    give(monkeypatch, {"instances": instances, "panoptic_seg": (ids, infos), "sem_seg": sem_seg})
    given = [boxes, images / "000001.jpg", "--annotations", shapes / "val/panoptic.json"]

    result = predict(*given, "-o", tmp_path / "out", "--json", tmp_path / "found.json")
    assert done(result)
    assert "1 detection, 2 drawn" in result.stdout
    assert files(tmp_path / "out") == ["000001.panoptic.png", "000001.png"]
    encoded = np.asarray(Image.open(tmp_path / "out/000001.panoptic.png")).astype(int)
    assert (encoded @ [1, 256, 65536] == ids.numpy()).all()
    assert [each["category_id"] for each in json.loads((tmp_path / "found.json").read_text())] == [3]

    assert done(predict(*given, "-o", tmp_path / "pictures"))
    assert files(tmp_path / "pictures") == ["000001.png"]
    assert done(predict(*given, "--json", tmp_path / "alone.json"))
    assert (tmp_path / "alone.json").read_text() == (tmp_path / "found.json").read_text()


def a_model_that_is_none(boxes, images):
    return [images, images], ["model.pb", "a converted model is a folder with it"]


def a_model_that_is_damaged(boxes, images):
    (images / "model.pb").write_bytes(b"\xff\xff")
    (images / "model_init.pb").write_bytes(b"\xff\xff")
    return [images, images], ["model.pb is damaged"]


def a_net_that_says_nonsense(boxes, images):
    nets = load_nets(boxes)
    next(argument for argument in nets.predict_net.arg if argument.name == "min_size_test").i = 10**9
    save_nets(nets, images.parent / "model")
    return [images.parent / "model", images], ["min_size_test is 1000000000", "--min-size"]


def no_images(boxes, images):
    return [boxes, images.parent / "empty"], ["empty: holds no image"]


def no_annotations(boxes, images):
    return [boxes, images, "--annotations", "none.json"], ["none.json: cannot be read"]


def two_vocabularies(boxes, images):
    return [boxes, images, "--annotations", "none.json", "--class-names", "a"], ["give one of them"]


def too_few_names(boxes, images):
    return [boxes, images, "--class-names", "a"], ["--class-names: the model found class", "but 0 to 0 are named"]


def no_name(boxes, images):
    return [boxes, images, "--class-names", "a,,b"], ["--class-names a,,b", "empty or occurs twice"]


def an_image_without_an_id(boxes, images):
    content = {"images": [{"id": 7, "file_name": "000001.jpg"}], "categories": [{"id": 1, "name": "a"}]}
    (images / "few.json").write_text(json.dumps(content))
    given = [boxes, images, "--annotations", images / "few.json", "--json", images.parent / "found.json"]
    return given, ["000003.jpg: is not in", "leave out --json"]


def two_images_of_an_id(boxes, images):
    (images.parent / "more").mkdir()
    shutil.copyfile(images / "000001.jpg", images.parent / "more/000001.jpg")
    annotations = ROOT / "examples/shapes/val/instances.json"
    given = [boxes, images, images.parent / "more", "--annotations", annotations]
    return [*given, "--json", images.parent / "found.json"], ["more/000001.jpg: is image 1 of", "name one"]


def an_output_that_is_a_file(boxes, images):
    return [boxes, images, "-o", images / "000001.jpg"], ["000001.jpg: is no folder"]


def results_that_are_a_folder(boxes, images):
    return [boxes, images, "--json", images], ["holds no COCO results"]


@pytest.mark.parametrize(
    "mistake",
    [
        a_model_that_is_none,
        a_model_that_is_damaged,
        a_net_that_says_nonsense,
        no_images,
        no_annotations,
        two_vocabularies,
        too_few_names,
        no_name,
        an_image_without_an_id,
        two_images_of_an_id,
        an_output_that_is_a_file,
        results_that_are_a_folder,
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(predict, boxes, images, tmp_path, mistake):
    (tmp_path / "empty").mkdir()
    arguments, words = mistake(boxes, images)
    before = sorted(tmp_path.rglob("*"))

    assert refused(predict("-o", tmp_path / "out", *arguments), *words)
    assert sorted(tmp_path.rglob("*")) == before


def test_nothing_to_write_is_a_mistake(predict, boxes, images):
    assert refused(predict(boxes, images), "give --output for pictures, --json for COCO results, or both")


@pytest.mark.parametrize(
    "option",
    [["--threshold", "1.5"], ["--min-size", "-1"], ["--max-size", "0"], ["--format", "YUV"], ["--runtime", "x"]],
)
def test_an_option_out_of_its_range_is_a_wrong_command_line(predict, boxes, images, tmp_path, option):
    assert predict(boxes, images, "-o", tmp_path / "out", *option).exit_code == 2
    assert files(tmp_path) == ["images"]


def test_annotations_find_an_image_by_the_longest_name_that_fits(predict, boxes, images, tmp_path):
    entries = [{"id": 4, "file_name": "000001.jpg"}, {"id": 5, "file_name": "images/000001.jpg"}]
    content = {"images": entries, "categories": [{"id": 10 * n, "name": f"n{n}"} for n in (3, 1, 2)]}
    (tmp_path / "a.json").write_text(json.dumps(content))

    given = [boxes, images / "000001.jpg", "--annotations", tmp_path / "a.json", "--json", tmp_path / "found.json"]
    assert done(predict(*given))

    results = json.loads((tmp_path / "found.json").read_text())
    expected = [10 * (label + 1) for label in found_by(boxes, images / "000001.jpg").pred_classes.tolist()]
    assert [(each["image_id"], each["category_id"]) for each in results] == [(5, category) for category in expected]


def test_the_help_says_what_can_be_asked(predict):
    result = predict("--help")

    assert done(result)
    options = ["--output", "-o", "--json", "--threshold", "--runtime", "--annotations", "--class-names", "--format"]
    for word in (
        *options,
        "--min-size",
        "--max-size",
        "DIR",
        "IMAGE",
        "Examples",
        "class + 1",
        "from 0",
        "800",
        "1333",
    ):
        assert word in result.stdout, word


def test_as_a_program_it_draws_and_says_where(boxes, images, tmp_path):
    command = [sys.executable, "-m", "cli.main", "predict", boxes, images / "000001.jpg", "-o", tmp_path / "out"]

    result = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT)

    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    assert result.stdout.splitlines()[-1] == f"1 image: pictures in {tmp_path / 'out'}"
    assert files(tmp_path / "out") == ["000001.png"]
