"""caffe2_detect on RetinaNets: raw ones by the anchors that they say, and ones that decode inside."""

import json
import math
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from roastery.caffe2 import caffe2_pb2
from roastery.caffe2.model import Caffe2Model
from roastery.caffe2.nets import Nets, load_nets, save_nets
from roastery.config import load_config
from roastery.data.preprocess import to_input

pytestmark = [pytest.mark.cpp, pytest.mark.xdist_group("cpp")]

Detect = Callable[..., "subprocess.CompletedProcess[str]"]
Lines = list[dict[str, Any]]
LEVELS = 5


@pytest.fixture(scope="module")
def retinanet(shapes: Path) -> Path:
    """A demo model's folder."""
    folders = sorted(file.parent for file in shapes.glob("*/config.yaml"))
    return next(f for f in folders if load_config(f / "config.yaml").MODEL.META_ARCHITECTURE == "RetinaNet")


@pytest.fixture(scope="module")
def raw(converted: Callable[..., Path], retinanet: Path) -> Path:
    return converted(retinanet.name)


@pytest.fixture(scope="module")
def decoding(converted: Callable[..., Path], retinanet: Path) -> Path:
    return converted(retinanet.name, decode=True)


@pytest.fixture(scope="module")
def images(shapes: Path) -> list[Path]:
    return sorted((shapes / "val" / "images").glob("*.jpg"))[:8]


@pytest.fixture
def asked(caffe2_detect: Detect, images: list[Path]) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """`asked(folder, *words)`: the nets of the folder on the images."""

    def ask(folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
        inputs = [word for file in images for word in ("--input", file)]
        nets = ["--predict_net", folder / "model.pb", "--init_net", folder / "model_init.pb"]
        return caffe2_detect(*nets, *inputs, *words)

    return ask


@pytest.fixture
def found(asked: Callable[..., Any]) -> Callable[..., Lines]:
    def detect(folder: Path, *words: str) -> Lines:
        done = asked(folder, *words)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    return detect


@pytest.fixture
def refused(asked: Callable[..., Any]) -> Callable[..., None]:
    def expect(folder: Path, message: str, *words: str) -> None:
        done = asked(folder, *words)
        assert (done.returncode, done.stdout) == (2, ""), done.stderr
        assert done.stderr.startswith("caffe2_detect: ")
        assert done.stderr.count("\n") == 1
        assert message in done.stderr

    return expect


def boxes_of(lines: Lines) -> Any:
    return np.reshape([line["box"] for line in lines], (-1, 4))


def hold(lines: Lines, expected: Lines) -> None:
    assert [(line["file"], line["class"]) for line in lines] == [(line["file"], line["class"]) for line in expected]
    np.testing.assert_allclose(boxes_of(lines), boxes_of(expected), rtol=0, atol=0.01)
    scores, theirs = ([line["score"] for line in each] for each in (lines, expected))
    np.testing.assert_allclose(scores, theirs, rtol=0, atol=1e-4)


def argument(nets: Nets, name: str) -> caffe2_pb2.Argument:
    return next(each for each in nets.predict_net.arg if each.name == name)


def test_raw_and_decoded_inside_it_finds_the_same(found: Callable[..., Lines], raw: Path, decoding: Path) -> None:
    lines = found(decoding)
    assert len(lines) > 20
    hold(lines, found(raw))


def pythons(folder: Path, images: list[Path], retinanet: Path) -> Lines:
    config, lines = load_config(retinanet / "config.yaml"), []
    with Caffe2Model.load_protobuf(folder) as model:
        for file in images:
            (answer,) = model([to_input(file, config)])
            instances = answer["instances"]
            rows = zip(instances.pred_classes, instances.scores, instances.pred_boxes.tensor, strict=True)
            lines += [
                {"file": str(file), "class": int(label), "score": float(score), "box": box.tolist()}
                for label, score, box in rows
            ]
    return lines


def moved(nets: Nets) -> None:
    """Anchors with an offset, each level's another."""
    for level in range(LEVELS):
        boxes = argument(nets, f"cell_anchors_{level}")
        boxes.floats[:] = [number + 2 + level for number in boxes.floats]


def without_a_level(nets: Nets) -> None:
    """The second is left out, so that the strides are 8, 32, 64, 128."""
    names = {}
    for level in range(1, LEVELS):
        for name in ("box_cls", "box_delta"):
            names[f"{name}_{level}"] = f"{name}_{level - 1}" if level > 1 else f"unused_{name}"
    for operator in nets.predict_net.op:
        operator.output[:] = [names.get(name, name) for name in operator.output]
    outputs = [names.get(name, name) for name in nets.predict_net.external_output]
    nets.predict_net.external_output[:] = [name for name in outputs if not name.startswith("unused_")]
    strides = argument(nets, "anchor_strides").ints
    del strides[1]
    nets.predict_net.arg.remove(argument(nets, "cell_anchors_1"))
    for level in range(2, LEVELS):
        argument(nets, f"cell_anchors_{level}").name = f"cell_anchors_{level - 1}"
    assert list(strides) == [8, 32, 64, 128]


def one_kind_of_anchor_less(nets: Nets) -> None:
    """Of every level: the maps are cut by the parameters of the convolutions that make them."""
    for operator in nets.init_net.op:
        shape, values = (next(a for a in operator.arg if a.name == name) for name in ("shape", "values"))
        if ".cls_score." in operator.output[0] or ".bbox_pred." in operator.output[0]:
            left = shape.ints[0] // 9 * 8
            values.floats[:] = list(values.floats)[: len(values.floats) // shape.ints[0] * left]
            shape.ints[0] = left
    for level in range(LEVELS):
        del argument(nets, f"cell_anchors_{level}").floats[-4:]


@pytest.mark.parametrize("change", [moved, without_a_level, one_kind_of_anchor_less])
def test_the_anchors_and_strides_are_those_that_the_net_says(
    found: Callable[..., Lines], raw: Path, retinanet: Path, images: list[Path], tmp_path: Path, change: Any
) -> None:
    nets = load_nets(raw)
    change(nets)
    save_nets(nets, tmp_path)
    lines, before = found(tmp_path), found(raw)
    assert len(lines) > 20
    assert len(lines) != len(before) or np.abs(boxes_of(lines) - boxes_of(before)).max() > 1
    hold(lines, pythons(tmp_path, images, retinanet))


@pytest.fixture(scope="module")
def anchor_words(retinanet: Path) -> list[str]:
    node = load_config(retinanet / "config.yaml").MODEL.ANCHOR_GENERATOR
    words = ["--anchor-sizes", json.dumps(node.SIZES), "--anchor-aspect-ratios", json.dumps(node.ASPECT_RATIOS)]
    return [*words, "--anchor-offset", str(node.OFFSET)]


def test_anchors_that_are_given_replace_the_nets(
    found: Callable[..., Lines], raw: Path, tmp_path: Path, anchor_words: list[str]
) -> None:
    nets = load_nets(raw)
    moved(nets)
    save_nets(nets, tmp_path)
    hold(found(tmp_path, *anchor_words), found(raw))


@pytest.mark.parametrize("part", [slice(0, 2), slice(2, 4), slice(4, 6), slice(2, 6)])
def test_a_part_of_the_anchors_is_not_put_beside_detectron2s(
    refused: Callable[..., None], raw: Path, anchor_words: list[str], part: slice
) -> None:
    refused(raw, "says its anchors itself; give --anchor-sizes and --anchor-aspect-ratios", *anchor_words[part])


@pytest.mark.parametrize("part", [slice(0, 6), slice(0, 2), slice(2, 4), slice(4, 6)])
def test_anchors_are_not_given_where_the_net_decodes_inside(
    refused: Callable[..., None], decoding: Path, anchor_words: list[str], part: slice
) -> None:
    refused(decoding, "decodes inside, with its own anchors; leave out the options of anchors", *anchor_words[part])


HOSTILE_ARGUMENTS: dict[str, tuple[str, dict[str, Any] | None, str]] = {
    "no_stride": ("anchor_strides", None, "'anchor_strides' has 0 strides for 5 levels; convert the model again"),
    "few_strides": ("anchor_strides", {"ints": [8, 16]}, "'anchor_strides' has 2 strides for 5 levels"),
    "many_strides": ("anchor_strides", {"ints": [8] * 6}, "'anchor_strides' has 6 strides for 5 levels"),
    "strides_of_floats": ("anchor_strides", {"floats": [8.0] * 5}, "'anchor_strides' has 0 strides for 5 levels"),
    "stride_0": ("anchor_strides", {"ints": [8, 16, 0, 64, 128]}, "'anchor_strides' has a stride of 0"),
    "stride_below_0": ("anchor_strides", {"ints": [8, 16, 32, 64, -128]}, "'anchor_strides' has a stride of -128"),
    "huge_stride": ("anchor_strides", {"ints": [8, 16, 32, 64, 2**31 - 1]}, "has a stride of 2147483647"),
    "stride_of_64_bits": ("anchor_strides", {"ints": [8, 16, 32, 64, 2**40]}, "'anchor_strides' holds no numbers"),
    "other_stride": ("anchor_strides", {"ints": [8, 16, 32, 64, 256]}, "not of stride 256 in "),
    "no_anchors": ("cell_anchors_3", None, "'cell_anchors_3' has 0 numbers, not four for each anchor"),
    "no_first_anchors": ("cell_anchors_0", None, "'cell_anchors_0' has 0 numbers, not four for each anchor"),
    "anchors_of_ints": ("cell_anchors_3", {"ints": [1] * 36}, "'cell_anchors_3' has 0 numbers"),
    "half_an_anchor": ("cell_anchors_1", {"floats": [1.0] * 35}, "'cell_anchors_1' has 35 numbers, not four for each"),
    "few_anchors": ("cell_anchors_1", {"floats": [1.0] * 32}, "which are not of 8 anchors; convert the model again"),
    "many_anchors": ("cell_anchors_1", {"floats": [1.0] * 144}, "which are not of 36 anchors; convert the model again"),
    "nan": ("cell_anchors_1", {"floats": [math.nan] * 36}, "'cell_anchors_1' has NaN or infinity"),
    "infinity": ("cell_anchors_1", {"floats": [-math.inf] * 36}, "'cell_anchors_1' has NaN or infinity"),
    "more_levels": ("cell_anchors_5", {"floats": [1.0] * 36}, "'cell_anchors_5' is of one level more than the net's 5"),
    "candidates": ("topk_candidates", {"i": -1}, "'topk_candidates' is negative"),
    "weights": ("bbox_reg_weights", {"floats": [1.0] * 3}, "'bbox_reg_weights' has not four numbers"),
}


@pytest.mark.parametrize("name", HOSTILE_ARGUMENTS)
def test_hostile_arguments_are_refused_in_one_line(
    refused: Callable[..., None], raw: Path, tmp_path: Path, name: str
) -> None:
    of, value, message = HOSTILE_ARGUMENTS[name]
    nets = load_nets(raw)
    for each in [each for each in nets.predict_net.arg if each.name == of]:
        nets.predict_net.arg.remove(each)
    if value is not None:
        nets.predict_net.arg.add(name=of, **value)
    save_nets(nets, tmp_path)
    refused(tmp_path, message)


def test_a_net_whose_arguments_say_two_things_is_refused_in_one_line(
    refused: Callable[..., None], raw: Path, tmp_path: Path
) -> None:
    nets = load_nets(raw)
    nets.predict_net.arg.add(name="anchor_strides", ints=[1] * LEVELS)
    save_nets(nets, tmp_path)
    refused(tmp_path, "model.pb: net argument ")


def first(nets: Nets, kind: str) -> caffe2_pb2.OperatorDef:
    return next(operator for operator in nets.predict_net.op if operator.type == kind)


def hostile_gather(nets: Nets) -> None:
    # All places are larger than they were by a million.
    gather = first(nets, "Gather")
    index = nets.predict_net.op[:].index(gather)
    nets.init_net.op.add(type="GivenTensorInt64Fill", output=["million"])
    nets.init_net.op[-1].arg.add(name="shape", ints=[1])
    nets.init_net.op[-1].arg.add(name="values", ints=[10**6])
    nets.predict_net.external_input.append("million")
    moved_on = caffe2_pb2.OperatorDef(type="Add", input=[gather.input[1], "million"], output=["far"])
    moved_on.arg.add(name="broadcast", i=1)
    gather.input[1] = "far"
    nets.predict_net.op.insert(index, moved_on)


def match_outer(nets: Nets) -> None:
    first(nets, "Gather").arg.add(name="match_outer", i=1)


def lengths(nets: Nets) -> None:
    first(nets, "Gather").type = "LengthsToSegmentIds"


def no_k(nets: Nets) -> None:
    (k,) = (each for each in first(nets, "TopK").arg if each.name == "k")
    k.i = -1


def scalar_without_a_value(nets: Nets) -> None:
    def empty(operator: caffe2_pb2.OperatorDef) -> bool:
        return not next(each for each in operator.arg if each.name == "shape").ints

    fill = next(operator for operator in nets.init_net.op if operator.type == "GivenTensorFill" and empty(operator))
    del next(each for each in fill.arg if each.name == "values").floats[:]


HOSTILE_OPERATORS: dict[str, tuple[Callable[[Nets], None], str]] = {
    "gather": (hostile_gather, "INDICES element is out of DATA bounds, id=1000007"),
    "match_outer": (match_outer, "operator 'Gather' with the argument 'match_outer' is not run"),
    "lengths": (lengths, "operator 'LengthsToSegmentIds' is none of a detector's and is not run"),
    "top_k": (no_k, "model.pb: genuine Caffe2 "),
    "scalar": (scalar_without_a_value, "model_init.pb: genuine Caffe2 cannot fill the parameters"),
}


@pytest.mark.parametrize("name", HOSTILE_OPERATORS)
def test_hostile_operators_of_decoding_are_told_in_one_line(
    refused: Callable[..., None], decoding: Path, tmp_path: Path, name: str
) -> None:
    change, message = HOSTILE_OPERATORS[name]
    nets = load_nets(decoding)
    change(nets)
    save_nets(nets, tmp_path)
    refused(tmp_path, message)
