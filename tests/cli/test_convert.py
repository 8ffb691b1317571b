import hashlib
import json
import os
import pickle
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from typer.testing import CliRunner

import roastery.caffe2.convert as caffe2_convert
import roastery.conversion
from cli.main import app
from roastery.caffe2.nets import load_nets, save_nets
from roastery.digest import file_sha256
from roastery.export.onnx import save_onnx

ROOT = Path(__file__).parents[2]
FILES = {"model.pb", "model_init.pb", "model.pbtxt", "model.svg", "model.onnx", "model.pt2", "manifest.json"}
"""What a conversion to Caffe2 leaves."""


def tree(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def refused(result, *words):
    """One line on stderr that holds the words, and exit code 2."""
    assert result.exit_code == 2, (result.exit_code, result.output, result.exception)
    assert len(result.stderr.splitlines()) == 1, result.stderr
    for word in words:
        assert word in result.stderr
    return True


def test_a_model_is_converted_whole_and_found_the_same(convert, mask_model, small_datasets, tmp_path):
    result = convert(mask_model / "config.yaml", "--run-eval", "--datasets", str(small_datasets), "MODEL.DEVICE", "cpu")

    assert result.exit_code == 0, (result.output, result.exception)
    assert tree(tmp_path / "out") == sorted(FILES - ({"model.svg"} if shutil.which("dot") is None else set()))
    assert "the same on 4 images of shapes_val" in result.stdout
    assert "AP on 4 images of shapes_val" in result.stdout
    assert "Gate, torch: passed" in result.stdout
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    for name, facts in manifest["files"].items():
        assert facts["sha256"] == file_sha256(tmp_path / "out" / name)
    assert manifest["source"]["weights_sha256"] == file_sha256(mask_model / "model_final.pkl")
    assert manifest["net"]["outputs"] == ["bbox_nms", "score_nms", "class_nms", "mask_fcn_probs"]
    assert manifest["net"]["arguments"]["size_divisibility"] == 32
    assert manifest["net"]["operators"]["BoxWithNMSLimit"] == 1
    evaluation = manifest["verdict"]["evaluation"]
    assert set(evaluation["metrics"]) == {"original", "torch"}
    assert abs(evaluation["verdicts"]["torch"]["deltas"]["segm/AP"]) <= 0.05
    assert manifest["verdict"]["passed"] is True
    assert str(tmp_path) not in json.dumps(manifest)


def test_a_model_is_converted_to_onnx_runtime_found_the_same_and_draws_what_it_finds(
    convert, mask_model, already_traced, small_datasets, tmp_path
):
    result = convert(
        mask_model / "config.yaml", "--target", "onnxruntime", "--run-eval", "--datasets", str(small_datasets)
    )

    assert result.exit_code == 0, (result.output, result.exception)
    assert tree(tmp_path / "out") == ["manifest.json", "model.onnx"]
    assert "Gate, onnxruntime: passed" in result.stdout
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    assert manifest["target"] == "onnxruntime"
    assert manifest["net"]["inputs"] == ["data", "im_info"]
    assert manifest["net"]["outputs"] == ["bbox_nms", "score_nms", "class_nms", "mask_fcn_probs"]
    assert manifest["net"]["operators"]["NonMaxSuppression"] >= 1
    assert abs(manifest["verdict"]["evaluation"]["verdicts"]["onnxruntime"]["deltas"]["segm/AP"]) <= 0.05

    image = ROOT / "examples/shapes/val/images/000024.jpg"
    drawn = CliRunner().invoke(app, ["predict", str(tmp_path / "out"), str(image), "-o", str(tmp_path / "found")])
    assert drawn.exit_code == 0, (drawn.output, drawn.exception)
    assert tree(tmp_path / "found") == ["000024.png"]


def test_a_layer_of_a_target_that_does_not_round_is_a_mistake(convert, mask_model):
    result = convert(mask_model / "config.yaml", "--float-layer", "backbone.*")

    refused(result, "--float-layer is of a target that rounds, not of caffe2")


def test_weights_at_an_address_are_fetched_once_and_told_of(convert, box_model, tmp_path, web):
    content = (box_model / "model_final.pkl").read_bytes()
    web.files["/detectron2/m/model_final.pkl"] = content
    address = "detectron2://m/model_final.pkl"
    (tmp_path / "mine.yaml").write_text(f"_BASE_: {box_model}/config.yaml\nMODEL: {{WEIGHTS: '{address}'}}\n")

    # Once by the command, and once by the config itself.
    first = convert(box_model / "config.yaml", "MODEL.WEIGHTS", address)
    again = convert(tmp_path / "mine.yaml")

    assert (first.exit_code, again.exit_code) == (0, 0), (first.output, again.output)
    assert "fetch the weights" in first.stdout
    assert "fetch the weights" not in again.stdout
    assert len(web.asked) == 1
    source = json.loads((tmp_path / "out/manifest.json").read_text())["source"]
    assert (source["weights"], source["weights_sha256"]) == ("model_final.pkl", hashlib.sha256(content).hexdigest())


def test_an_address_that_does_not_answer_is_one_line_and_no_mistake_of_the_users(convert, box_model, tmp_path, web):
    web.fails = ["503"] * 9
    result = convert(box_model / "config.yaml", "MODEL.WEIGHTS", "detectron2://m/model_final.pkl")
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert "detectron2://m/model_final.pkl" in line
    assert not (tmp_path / "out").exists()


def test_an_address_that_leads_nowhere_is_one_line(convert, box_model, tmp_path, web):
    address = "detectron2://m/model_final.pkl"
    assert refused(convert(box_model / "config.yaml", "MODEL.WEIGHTS", address), address, "404 Not Found")
    assert not (tmp_path / "out").exists()


def test_the_command_of_detectron2s_users_works_as_it_stands(
    convert, mask_model, already_traced, few_annotations, shapes, web, monkeypatch, tmp_path
):
    """A config of the zoo by its name, its weights by theirs, its dataset by its own; a model of the demo stands in."""
    name = "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x"
    zoo, data = tmp_path / "zoo", tmp_path / "data" / "coco"
    (zoo / name).parent.mkdir(parents=True)
    shutil.copy(mask_model / "config.yaml", zoo / "Base.yaml")
    own = '_BASE_: "../Base.yaml"\nDATASETS:\n  TEST: ("coco_2017_val",)\n'
    (zoo / f"{name}.yaml").write_text(own)
    monkeypatch.setenv("ROASTERY_ZOO", str(zoo))
    weights = f"{name}/137849600/model_final_f10217.pkl"
    web.files[f"/detectron2/{weights}"] = (mask_model / "model_final.pkl").read_bytes()
    (data / "annotations").mkdir(parents=True)
    (data / "val2017").symlink_to(shapes / "val" / "images")
    shutil.copy(few_annotations, data / "annotations/instances_val2017.json")
    monkeypatch.setenv("DETECTRON2_DATASETS", str(data.parent))
    monkeypatch.chdir(tmp_path)

    words = ("--run-eval", "MODEL.WEIGHTS", f"detectron2://{weights}", "MODEL.DEVICE", "cpu")
    result = convert(f"{name}.yaml", *words, output="./caffe2_model")

    assert result.exit_code == 0, (result.output, result.exception)
    assert "AP on 4 images of coco_2017_val" in result.stdout
    assert "Gate, torch: passed" in result.stdout
    assert "model.pb" in tree(tmp_path / "caffe2_model")
    assert str(tmp_path) not in (tmp_path / "caffe2_model/manifest.json").read_text()
    near = convert("COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.yaml", *words, output="other")
    assert refused(near, f"did you mean {name}.yaml?")
    assert not (tmp_path / "other").exists()


def test_a_model_for_the_gpu_is_compared_on_the_cpu_and_says_so(convert, box_model, tmp_path):
    result = convert(box_model / "config.yaml", "MODEL.DEVICE", "cuda")

    assert result.exit_code == 0, (result.output, result.exception)
    assert "Net for cuda:0; it was run on the CPU here, not on a GPU" in result.stdout
    net = load_nets(tmp_path / "out").predict_net
    devices = {operator.type: operator.device_option.device_type for operator in net.op}
    assert (devices["Conv"], devices["GenerateProposals"], devices["BoxWithNMSLimit"]) == (1, 1, 0)


def test_without_graphviz_the_rest_goes_on_and_is_the_same_to_the_byte(
    convert, mask_model, traced_mask_model, monkeypatch, tmp_path
):
    """The expected files are those of another trace and another export of the model."""
    program, proto = traced_mask_model
    shutil.copy(program, tmp_path / "model.pt2")
    save_onnx(ir.from_proto(proto), tmp_path / "model.onnx")
    save_nets(caffe2_convert.convert(ir.from_proto(proto)), tmp_path)
    expected = {path.name: file_sha256(path) for path in tmp_path.glob("model*")}
    (tmp_path / "out").mkdir()
    (tmp_path / "out/model.pb").write_bytes(b"an earlier net")
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))

    result = convert(mask_model / "config.yaml")

    assert result.exit_code == 0, (result.output, result.exception)
    assert "graphviz" in result.stdout
    assert tree(tmp_path / "out") == sorted(FILES - {"model.svg"})
    assert {name: file_sha256(tmp_path / "out" / name) for name in expected} == expected


def test_a_value_may_be_negative_and_an_override_reaches_the_net(convert, mask_model, monkeypatch, tmp_path):
    seen = []
    monkeypatch.setattr(roastery.conversion, "open_source", lambda said: seen.append(list(said.overrides)) or 1 / 0)

    convert(mask_model / "config.yaml", "MODEL.RPN.BOUNDARY_THRESH", "-1", "TEST.DETECTIONS_PER_IMAGE", "--run-eval")

    assert seen == [["MODEL.RPN.BOUNDARY_THRESH", "-1", "TEST.DETECTIONS_PER_IMAGE", "--run-eval"]]


def test_a_net_that_is_not_the_detectors_equal_fails_and_is_kept_with_the_verdict(
    convert, mask_model, already_traced, monkeypatch, tmp_path
):
    genuine = caffe2_convert.convert

    def with_another_threshold(model):
        nets = genuine(model)
        (limit,) = (operator for operator in nets.predict_net.op if operator.type == "BoxWithNMSLimit")
        next(argument for argument in limit.arg if argument.name == "score_thresh").f = 0.9
        return nets

    monkeypatch.setattr(caffe2_convert, "convert", with_another_threshold)

    image = ROOT / "examples/shapes/val/images/000001.jpg"
    result = convert(mask_model / "config.yaml", "--sample-image", str(image))

    assert result.exit_code == 1
    assert "not the same on 1 given image" in result.stdout
    assert (tmp_path / "out/model.pb").is_file()
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    assert manifest["verdict"]["passed"] is False
    assert manifest["verdict"]["parity"][0]["differences"]


def test_the_ap_gate_fails_a_model_that_lost_and_the_table_shows_it(
    convert, mask_model, already_traced, small_datasets, monkeypatch, tmp_path
):
    genuine = caffe2_convert.convert

    def with_unaligned_pooling(model):
        nets = genuine(model)
        for operator in nets.predict_net.op:
            for argument in operator.arg:
                if (operator.type, argument.name) == ("RoIAlign", "aligned"):
                    argument.i = 0
        return nets

    monkeypatch.setattr(caffe2_convert, "convert", with_unaligned_pooling)

    result = convert(mask_model / "config.yaml", "--run-eval", "--datasets", str(small_datasets))

    assert result.exit_code == 1
    assert "Gate, torch: failed" in result.stdout
    verdict = json.loads((tmp_path / "out/manifest.json").read_text())["verdict"]
    assert verdict["passed"] is False
    assert any("segm/AP" in reason for reason in verdict["evaluation"]["verdicts"]["torch"]["reasons"])


HOSTILE = ("\\[/red]", "[link=javascript:alert(1)]\x1b]0;title\x07", "../../<script>'\"\n\x1b[31m")


def test_hostile_names_in_a_dataset_are_shown_as_they_are_and_lead_nowhere(
    convert, mask_model, already_traced, small_datasets, shapes, tmp_path
):
    content = json.loads((small_datasets.parent / "instances.json").read_text())
    for category, name in zip(content["categories"], HOSTILE, strict=True):
        category["name"] = name
    folder = tmp_path / "dataset"
    (folder / "images").mkdir(parents=True)
    for number, image in enumerate(content["images"]):
        name = f"[red]<img src=x>'; touch ran; \x1b[2J{number}.jpg"
        shutil.copyfile(shapes / "val/images" / image["file_name"], folder / "images" / name)
        image["file_name"] = name
    (folder / "instances.json").write_text(json.dumps(content))
    registered = {"name": "shapes_val", "images": str(folder / "images"), "annotations": str(folder / "instances.json")}
    (folder / "shapes_val.yaml").write_text(json.dumps(registered))
    before = tree(tmp_path)

    result = convert(mask_model / "config.yaml", "--run-eval", "--datasets", str(folder))

    assert result.exit_code == 0, (result.output, result.exception)
    assert all(line.isprintable() for line in result.stdout.splitlines())
    for name in HOSTILE:
        shown = "".join(letter if letter.isprintable() else "\ufffd" for letter in f"AP-{name}")
        assert shown in result.stdout
    assert [path for path in tree(tmp_path) if path not in before and not path.startswith("out")] == []
    assert tree(tmp_path / "out") == sorted(FILES - ({"model.svg"} if shutil.which("dot") is None else set()))
    evaluation = json.loads((tmp_path / "out/manifest.json").read_text())["verdict"]["evaluation"]
    assert {f"AP-{name}" for name in HOSTILE} <= evaluation["metrics"]["original"]["bbox"].keys()


@pytest.mark.caffe2
def test_both_runtimes_find_the_net_the_same(convert, mask_model, already_traced, small_datasets):
    result = convert(mask_model / "config.yaml", "--runtime", "both", "--run-eval", "--datasets", str(small_datasets))

    assert result.exit_code == 0, (result.output, result.exception)
    assert "Gate, torch: passed" in result.stdout
    assert "Gate, caffe2: passed" in result.stdout


class Touch:
    """A pickle that makes a file when it is loaded as Python loads pickles."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def no_config(mask_model, tmp_path):
    return tmp_path / "none.yaml", [], ["none.yaml"]


def no_weights(mask_model, tmp_path):
    return mask_model / "config.yaml", ["MODEL.WEIGHTS", "none.pkl"], ["none.pkl", "no such checkpoint"]


def weights_not_set(mask_model, tmp_path):
    return mask_model / "config.yaml", ["MODEL.WEIGHTS", ""], ["MODEL.WEIGHTS is not set"]


def weights_at_an_address_of_no_kind(mask_model, tmp_path):
    address = "memory://x/model_final.pkl"
    return mask_model / "config.yaml", ["MODEL.WEIGHTS", address], [address, "is no address that is fetched"]


def truncated(mask_model, tmp_path):
    whole = (mask_model / "model_final.pkl").read_bytes()
    (tmp_path / "cut.pkl").write_bytes(whole[: len(whole) // 2])
    return mask_model / "config.yaml", ["MODEL.WEIGHTS", str(tmp_path / "cut.pkl")], ["cut.pkl"]


def running_code(mask_model, tmp_path):
    (tmp_path / "evil.pkl").write_bytes(pickle.dumps({"model": {"weight": Touch(tmp_path / "executed")}}))
    return mask_model / "config.yaml", ["MODEL.WEIGHTS", str(tmp_path / "evil.pkl")], ["evil.pkl"]


def unknown_key(mask_model, tmp_path):
    return mask_model / "config.yaml", ["MODEL.WEIGHTZ", "x"], ["MODEL.WEIGHTZ", "did you mean MODEL.WEIGHTS"]


def key_without_value(mask_model, tmp_path):
    return mask_model / "config.yaml", ["MODEL.WEIGHTS"], ["MODEL.WEIGHTS", "pairs of KEY VALUE"]


def another_architecture(mask_model, tmp_path):
    return mask_model / "config.yaml", ["MODEL.META_ARCHITECTURE", "TensorMask"], ["TensorMask", "SwapAlign2Nat"]


def a_panoptic_model_without_masks(mask_model, tmp_path):
    overrides = ["MODEL.META_ARCHITECTURE", "PanopticFPN", "MODEL.MASK_ON", "False"]
    return mask_model / "config.yaml", overrides, ["MODEL.MASK_ON", "PanopticFPN"]


def another_mask_head(mask_model, tmp_path):
    return mask_model / "config.yaml", ["MODEL.ROI_MASK_HEAD.NAME", "PointRendMaskHead"], ["PointRendMaskHead"]


def a_dataset_that_is_not_registered(mask_model, tmp_path):
    return mask_model / "config.yaml", ["DATASETS.TEST", "('nowhere',)"], ["nowhere", "register it"]


def an_image_that_is_none(mask_model, tmp_path):
    (tmp_path / "text.jpg").write_text("no image")
    return mask_model / "config.yaml", [], ["text.jpg"]


@pytest.mark.parametrize(
    "mistake",
    [
        no_config,
        no_weights,
        weights_not_set,
        weights_at_an_address_of_no_kind,
        truncated,
        running_code,
        unknown_key,
        key_without_value,
        another_architecture,
        a_panoptic_model_without_masks,
        another_mask_head,
        a_dataset_that_is_not_registered,
        an_image_that_is_none,
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(convert, mask_model, tmp_path, mistake):
    config, overrides, words = mistake(mask_model, tmp_path)
    options = {a_dataset_that_is_not_registered: ["--run-eval"]}.get(mistake, [])
    options += ["--sample-image", str(tmp_path / "text.jpg")] if mistake is an_image_that_is_none else []
    before = tree(tmp_path)

    result = convert(config, *options, *overrides)

    assert refused(result, *words)
    assert tree(tmp_path) == before
    assert not (tmp_path / "executed").exists()


def test_the_evil_pickle_of_these_tests_would_run_its_code(tmp_path):
    pickle.loads(pickle.dumps(Touch(tmp_path / "executed")))

    assert (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda tensors: tensors.pop("roi_heads.box_head.fc1.weight"), ["roi_heads.box_head.fc1.weight"]),
        (lambda tensors: tensors.update({"roi_heads.extra": np.zeros(3, np.float32)}), ["roi_heads.extra"]),
        (
            lambda tensors: tensors.update({"roi_heads.box_head.fc1.weight": np.zeros((3, 4), np.float32)}),
            ["roi_heads.box_head.fc1.weight", "3", "4"],
        ),
        (
            lambda tensors: tensors["roi_heads.box_head.fc1.weight"].__setitem__((0, 0), np.nan),
            ["roi_heads.box_head.fc1.weight"],
        ),
    ],
    ids=["missing", "surplus", "misshapen", "NaN"],
)
def test_a_checkpoint_of_another_model_is_one_line_and_leaves_nothing(
    convert, mask_model, tensors, write_checkpoint, tmp_path, change, words
):
    changed = {name: array.copy() for name, array in tensors.items()}
    change(changed)
    path = write_checkpoint(changed)

    result = convert(mask_model / "config.yaml", "MODEL.WEIGHTS", str(path))

    assert refused(result, "checkpoint.pkl", *words)
    assert tree(tmp_path) == ["checkpoint.pkl"]


def test_weights_are_found_beside_the_config_and_first_in_the_working_directory(
    convert, mask_model, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model_final.pkl").write_bytes(b"not a checkpoint")

    # `model_final.pkl` is what the config says; the one of the working directory is damaged.
    assert refused(convert(mask_model / "config.yaml"), "model_final.pkl")


def test_an_output_that_is_a_file_or_holds_others_files_is_left_alone(convert, mask_model, tmp_path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/thesis.tex").write_text("mine")

    assert refused(convert(mask_model / "config.yaml", output=tmp_path / "file"), "is a file")
    assert refused(convert(mask_model / "config.yaml", output=tmp_path / "folder"), "thesis.tex")
    assert (tmp_path / "file").read_text() == "mine"
    assert tree(tmp_path / "folder") == ["thesis.tex"]


def test_after_a_mistake_the_earlier_conversion_is_as_it_was(convert, mask_model, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/model.pb").write_bytes(b"an earlier net")

    assert refused(convert(mask_model / "config.yaml", "MODEL.WEIGHTS", "none.pkl"), "none.pkl")

    assert tree(tmp_path) == ["out", "out/model.pb"]
    assert (tmp_path / "out/model.pb").read_bytes() == b"an earlier net"


def test_a_file_that_may_not_grow_is_one_line_and_leaves_nothing(convert, mask_model, already_traced, tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        result = convert(mask_model / "config.yaml")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert refused(result, "a file may not become that large", "Nothing was written")
    assert tree(tmp_path) == []


@pytest.fixture
def small_disk():
    """A disk of 1 MB, which the example does not fit on, where this user may mount one."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder]
        if subprocess.run(command, check=False, capture_output=True).returncode:
            pytest.skip("mounting a disk takes root's rights; the test above limits a file's size instead")
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", folder], check=True)


def test_a_full_disk_is_one_line_and_leaves_nothing(convert, mask_model, already_traced, small_disk):
    result = convert(mask_model / "config.yaml", output=small_disk / "out")

    assert refused(result, "no space is left on its disk", "Nothing was written")
    assert tree(small_disk) == []


def test_without_genuine_caffe2_asking_for_it_is_one_line(convert, mask_model, monkeypatch, tmp_path):
    monkeypatch.setenv("CAFFE2_PYTHON", str(tmp_path / "no-python"))

    assert refused(convert(mask_model / "config.yaml", "--runtime", "caffe2"), "no-python")
    assert tree(tmp_path) == []


def test_the_help_shows_the_options_and_examples(convert):
    result = convert("x", "--help")

    assert result.exit_code == 0
    for word in ("--config-file", "--output", "--run-eval", "--runtime", "--sample-image", "KEY VALUE", "Examples"):
        assert word in result.stdout


def test_as_a_program_a_mistake_is_one_line_on_stderr_and_exit_code_2(mask_model, tmp_path):
    command = [sys.executable, "-m", "cli.main", "convert", "--config-file", str(mask_model / "config.yaml")]
    command += ["--output", str(tmp_path / "out"), "MODEL.WEIGHTS", "none.pkl"]

    result = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT)

    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1
    assert "none.pkl: no such checkpoint" in result.stderr
    assert not (tmp_path / "out").exists()
