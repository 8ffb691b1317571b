"""caffe2_detect from outside: what it prints and leaves, and the one line in which it refuses."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from roastery.caffe2 import caffe2_pb2
from roastery.caffe2.devices import place_on_cuda
from roastery.caffe2.kernels.detection import detection_kernels
from roastery.caffe2.kernels.registry import kernels
from roastery.caffe2.model import Caffe2Model
from roastery.caffe2.nets import load_nets, save_nets
from roastery.config import load_config
from roastery.data.preprocess import to_input

pytestmark = [pytest.mark.cpp, pytest.mark.xdist_group("cpp")]

Detect = Callable[..., "subprocess.CompletedProcess[str]"]
ROOT = Path(__file__).parent.parent.parent


def nets(folder: Path) -> list[str | Path]:
    return ["--predict_net", folder / "model.pb", "--init_net", folder / "model_init.pb"]


@pytest.fixture(scope="module")
def folder(converted: Callable[..., Path], mask_model: Path) -> Path:
    return converted(mask_model.name)


@pytest.fixture
def image(shapes: Path) -> Path:
    return shapes / "val" / "images" / "000001.jpg"


@pytest.mark.parametrize("runtime", ["torch", "caffe2"])
def test_it_finds_what_python_finds(
    caffe2_detect: Detect,
    converted: Callable[..., Path],
    demo_model: Path,
    shapes: Path,
    tmp_path: Path,
    runtime: Any,
) -> None:
    files = sorted((shapes / "val" / "images").glob("*.jpg"))[:8]
    inputs = [word for file in files for word in ("--input", file)]
    done = caffe2_detect(*nets(converted(demo_model.name)), *inputs, "--output", tmp_path)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    config = load_config(demo_model / "config.yaml")
    found = 0
    with Caffe2Model.load_protobuf(converted(demo_model.name), runtime) as model:
        for file in files:
            (expected,) = model([to_input(file, config)])
            instances = expected["instances"]
            mine = [line for line in lines if line["file"] == str(file) and "box" in line]
            found += len(mine)
            assert [line["class"] for line in mine] == instances.pred_classes.tolist()
            boxes = np.array([line["box"] for line in mine]).reshape(-1, 4)
            np.testing.assert_allclose(boxes, instances.pred_boxes.tensor.numpy(), rtol=0, atol=0.01)
            np.testing.assert_allclose([line["score"] for line in mine], instances.scores.numpy(), rtol=0, atol=1e-4)
            for line, mask in zip(mine, instances.pred_masks if instances.has("pred_masks") else [], strict=False):
                drawn = np.asarray(Image.open(tmp_path / line["mask"]))
                assert set(np.unique(drawn)) <= {0, 255}
                # A pixel may lie on the threshold to the last bit.
                assert ((drawn == 255) != mask.numpy()).sum() <= 1
    assert found > 20


def test_an_overlay_has_the_images_size_and_shows_what_was_found(
    caffe2_detect: Detect, folder: Path, image: Path, tmp_path: Path
) -> None:
    caffe2_detect(*nets(folder), "--input", image, "--output", tmp_path)
    drawn, plain = np.asarray(Image.open(tmp_path / f"{image.name}.overlay.png")), np.asarray(Image.open(image))
    assert drawn.shape == plain.shape
    assert 0.01 < (drawn != plain).any(axis=2).mean() < 0.5


def test_a_threshold_leaves_detections_out(caffe2_detect: Detect, folder: Path, image: Path, tmp_path: Path) -> None:
    words = [*nets(folder), "--input", image]
    scores = [json.loads(line)["score"] for line in caffe2_detect(*words).stdout.splitlines()]
    threshold = (scores[0] + scores[1]) / 2
    some = caffe2_detect(*words, "--threshold", str(threshold), "--output", tmp_path).stdout.splitlines()
    assert [json.loads(line)["score"] for line in some] == scores[:1]
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        f"{image.name}.mask_000.png",
        f"{image.name}.overlay.png",
    ]


def test_an_image_without_a_detection_prints_nothing_and_leaves_the_overlay(
    caffe2_detect: Detect, folder: Path, tmp_path: Path
) -> None:
    Image.new("RGB", (120, 90)).save(tmp_path / "black.png")
    done = caffe2_detect(
        *nets(folder), "--input", tmp_path / "black.png", "--output", tmp_path / "out", "--threshold", "0.9"
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["black.png.overlay.png"]


def test_a_benchmark_says_how_long_the_net_takes(caffe2_detect: Detect, folder: Path, image: Path) -> None:
    done = caffe2_detect(*nets(folder), "--input", image, "--benchmark", "5", "--threads", "1")
    assert done.returncode == 0
    found = re.fullmatch(r"median ([\d.]+) ms, p90 ([\d.]+) ms an image, 5 runs, network only\n", done.stderr)
    assert found is not None, done.stderr
    assert 0 < float(found[1]) <= float(found[2])


def test_help_names_every_option(caffe2_detect: Detect) -> None:
    done = caffe2_detect("--help")
    assert done.returncode == 0
    for option in ("--predict_net", "--init_net", "--input", "--output", "--threshold", "--benchmark", "--threads"):
        assert option in done.stdout


def cuda_nets(folder: Path, scratch: Path) -> Path:
    on_gpu = load_nets(folder)
    place_on_cuda(on_gpu)
    for argument in on_gpu.predict_net.arg:
        if argument.name == "device":
            argument.s = b"cuda"
    save_nets(on_gpu, scratch)
    return scratch


def net_with(folder: Path, scratch: Path, kind: str) -> Path:
    loaded = load_nets(folder)
    loaded.predict_net.op[3].type = kind
    save_nets(loaded, scratch)
    return scratch


def cut(folder: Path, scratch: Path, name: str) -> Path:
    shutil.copytree(folder, scratch, dirs_exist_ok=True)
    content = (scratch / name).read_bytes()
    (scratch / name).write_bytes(content[: len(content) // 2])
    return scratch


def without_output(folder: Path, scratch: Path) -> Path:
    loaded = load_nets(folder)
    del loaded.predict_net.external_output[1]
    save_nets(loaded, scratch)
    return scratch


def of_architecture(folder: Path, scratch: Path) -> Path:
    loaded = load_nets(folder)
    for argument in loaded.predict_net.arg:
        if argument.name == "meta_architecture":
            argument.s = b"PointRend"
    save_nets(loaded, scratch)
    return scratch


def with_proposals(folder: Path, scratch: Path) -> Path:
    loaded = load_nets(folder)
    loaded.predict_net.external_input.append("rois")
    save_nets(loaded, scratch)
    return scratch


BAD_NETS: dict[str, tuple[Callable[[Path, Path], Path], str]] = {
    "cuda": (cuda_nets, "model.pb: was converted for 'cuda', and this program runs on the CPU"),
    "unknown": (lambda folder, scratch: net_with(folder, scratch, "Save"), "operator 'Save' is none of a detector's"),
    "cut": (lambda folder, scratch: cut(folder, scratch, "model.pb"), "is damaged or not a Caffe2 net"),
    "cut_parameters": (lambda folder, scratch: cut(folder, scratch, "model_init.pb"), "is damaged or not a Caffe2 net"),
    "onnx": (lambda folder, scratch: Path(shutil.copytree(folder, scratch, dirs_exist_ok=True)), "Caffe2 net"),
    "no_output": (without_output, "has no output 'score_nms', which a GeneralizedRCNN gives"),
    "proposals": (with_proposals, "takes precomputed proposals (rois), which are not read here; run it in Python"),
    "architecture": (of_architecture, "is a 'PointRend'; GeneralizedRCNN, RetinaNet and PanopticFPN are run here"),
}


def refused(done: "subprocess.CompletedProcess[str]", message: str) -> None:
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith("caffe2_detect: ")
    assert done.stderr.count("\n") == 1
    assert message in done.stderr


@pytest.mark.parametrize("name", BAD_NETS)
def test_a_bad_net_is_refused_in_one_line(
    caffe2_detect: Detect, folder: Path, image: Path, tmp_path: Path, name: str
) -> None:
    make, message = BAD_NETS[name]
    bad = make(folder, tmp_path / "bad")
    words = nets(bad)
    if name == "onnx":
        words[1] = bad / "model.onnx"
    refused(caffe2_detect(*words, "--input", image, "--output", tmp_path / "out"), message)
    assert not (tmp_path / "out").exists()


def test_a_net_for_a_batch_is_refused_and_the_way_out_named(
    caffe2_detect: Detect, converted: Callable[..., Path], mask_model: Path, image: Path
) -> None:
    """Before its operators are looked at: some of them are not run here."""
    net = converted(mask_model.name, batch=2)
    assert "LengthsToSegmentIds" in {operator.type for operator in load_nets(net).predict_net.op}
    message = "takes batches of 2 images, and this program one at a time; convert the model with --batch 1"
    refused(caffe2_detect(*nets(net), "--input", image), message)


@pytest.mark.parametrize("batch", [0, -1, 2**31 - 1, 2**31])
def test_a_batch_that_is_none_is_refused_in_one_line(
    caffe2_detect: Detect, folder: Path, image: Path, tmp_path: Path, batch: int
) -> None:
    loaded = load_nets(folder)
    loaded.predict_net.arg.add(name="batch_size", i=batch)
    save_nets(loaded, tmp_path)
    message = f"takes batches of {batch} images" if batch < 2**31 else "net argument 'batch_size' is of another type"
    refused(caffe2_detect(*nets(tmp_path), "--input", image), message)


def test_the_parameters_of_another_model_are_refused_in_one_line(
    caffe2_detect: Detect, converted: Callable[..., Path], box_model: Path, folder: Path, image: Path
) -> None:
    words = ["--predict_net", folder / "model.pb", "--init_net", converted(box_model.name) / "model_init.pb"]
    refused(caffe2_detect(*words, "--input", image), "model.pb: genuine Caffe2 ")


BAD_IMAGES: dict[str, tuple[bytes | None, str]] = {
    "missing.jpg": (None, "missing.jpg: no image there"),
    "text.jpg": (b"no image", "it is neither JPEG nor PNG"),
    "cut.jpg": (b"\xff\xd8\xff\xe0\x00\x10JFIF", "cut.jpg: cannot be read as an image"),
    "huge.png": (
        b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x7f\xff\xff\xff\x7f\xff\xff\xff\x08\x02\x00\x00\x00\x00\x00\x00\x00",
        "huge.png: cannot be read as an image",
    ),
}


@pytest.mark.parametrize("name", BAD_IMAGES)
def test_a_bad_image_is_refused_in_one_line(caffe2_detect: Detect, folder: Path, tmp_path: Path, name: str) -> None:
    content, message = BAD_IMAGES[name]
    if content is not None:
        (tmp_path / name).write_bytes(content)
    refused(caffe2_detect(*nets(folder), "--input", tmp_path / name), message)


def test_an_image_that_is_too_thin_is_refused_in_one_line(caffe2_detect: Detect, folder: Path, tmp_path: Path) -> None:
    Image.new("RGB", (1, 3000)).save(tmp_path / "thin.png")
    refused(caffe2_detect(*nets(folder), "--input", tmp_path / "thin.png"), "has an edge of 0 when it is resized")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--input", "x.jpg"], "--predict_net is required"),
        (["--benchmark", "0"], "--benchmark"),
        (["--threshold", "2"], "--threshold"),
        (["--nonsense"], "`caffe2_detect --help` lists the options"),
    ],
)
def test_a_wrong_command_line_is_refused_in_one_line(caffe2_detect: Detect, words: list[str], message: str) -> None:
    refused(caffe2_detect(*words), message)


def test_two_images_of_one_name_are_not_written_over_each_other(
    caffe2_detect: Detect, folder: Path, image: Path, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    shutil.copy(image, tmp_path / "other")
    words = [*nets(folder), "--input", image, "--input", tmp_path / "other" / image.name]
    refused(caffe2_detect(*words, "--output", tmp_path / "out"), "have one name")
    assert caffe2_detect(*words).returncode == 0


def test_an_output_that_cannot_be_written_is_refused_in_one_line(
    caffe2_detect: Detect, folder: Path, image: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    refused(caffe2_detect(*nets(folder), "--input", image, "--output", tmp_path / "file"), "the folder cannot be made")


def test_a_net_that_crashes_caffe2_is_told_in_one_line(
    caffe2_detect: Detect, folder: Path, image: Path, tmp_path: Path
) -> None:
    loaded = load_nets(folder)
    # RoIAlign aborts of a box of negative size: the box's corners are taken the wrong way round.
    for operator in loaded.predict_net.op:
        if operator.type == "RoIAlign":
            operator.arg.add(name="spatial_scale", f=-1.0)
            for argument in [a for a in operator.arg if a.name == "spatial_scale"][:1]:
                operator.arg.remove(argument)
    save_nets(loaded, tmp_path)
    refused(caffe2_detect(*nets(tmp_path), "--input", image), "genuine Caffe2 crashed (Aborted)")


def test_detections_that_the_border_cuts_to_nothing_are_left_out(
    caffe2_detect: Detect, fed: Callable[..., Any], folder: Path, image: Path, tmp_path: Path
) -> None:
    loaded = load_nets(folder)
    for fill in loaded.init_net.op:
        if ".bbox_pred." in fill.output[0]:
            (values,) = (argument for argument in fill.arg if argument.name == "values")
            # Every box goes a hundred widths to the left.
            boxes = [-1000.0, 0.0, 0.0, 0.0] if fill.output[0].endswith("bias") else [0.0] * 4
            values.floats[:] = boxes * (len(values.floats) // 4)
    save_nets(loaded, tmp_path)
    found = Caffe2Model.load_protobuf(tmp_path).run(*fed(folder, image))
    assert len(found["bbox_nms"]) > 0
    assert not found["bbox_nms"][:, [0, 2]].any()
    done = caffe2_detect(*nets(tmp_path), "--input", image)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_it_runs_the_operators_that_the_torch_runtime_runs() -> None:
    source = (ROOT / "cpp" / "src" / "operators.cpp").read_text()
    listed = re.findall(r'"(\w+)"', source.partition("known = {")[2].partition("}")[0])
    # The first crashes of a detection of zero width; the second, of a net for batches, writes where it likes.
    left_out = {"HeatmapMaxKeypoint", "LengthsToSegmentIds"}
    assert set(listed) == {*kernels(), *detection_kernels()} - left_out
    assert listed == sorted(listed)


def test_its_answers_are_json_of_one_line_each_even_where_a_name_is_odd(
    caffe2_detect: Detect, folder: Path, image: Path, tmp_path: Path
) -> None:
    odd = tmp_path / 'a "b"\n.jpg'
    shutil.copy(image, odd)
    done = caffe2_detect(*nets(folder), "--input", odd)
    assert {json.loads(line)["file"] for line in done.stdout.splitlines()} == {str(odd)}


def test_an_init_net_with_another_operator_is_not_run(
    caffe2_detect: Detect, folder: Path, image: Path, tmp_path: Path
) -> None:
    loaded = load_nets(folder)
    target = tmp_path / "written"
    saving = caffe2_pb2.OperatorDef(type="Save", input=[loaded.init_net.op[0].output[0]])
    saving.arg.add(name="db", s=str(target).encode())
    saving.arg.add(name="db_type", s=b"minidb")
    loaded.init_net.op.append(saving)
    save_nets(loaded, tmp_path)
    refused(caffe2_detect(*nets(tmp_path), "--input", image), "model_init.pb: operator 'Save'")
    assert not target.exists()
