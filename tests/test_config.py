"""Configs: detectron2's values, and nothing that a file may do beyond giving values."""

import os
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from roastery.config import class_count, dump_config, load_config, measures
from roastery.config_defaults import DEFAULTS
from roastery.errors import ConfigError


def write(folder: Path, text: str, name: str = "config.yaml") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def refusal(path: Path | str, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(path, overrides)
    message = str(caught.value)
    assert "\n" not in message
    return message


def flat(tree: dict, above: str = "") -> dict:
    values = {}
    for key, value in tree.items():
        values |= flat(value, f"{above}{key}.") if isinstance(value, dict) else {f"{above}{key}": value}
    return values


def test_an_empty_file_gives_detectron2s_defaults(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, ""))
    # detectron2/config/defaults.py, release 0.5
    assert config.MODEL.PIXEL_MEAN == [103.53, 116.28, 123.675]
    assert config.MODEL.PIXEL_STD == [1.0, 1.0, 1.0]
    assert config.MODEL.BACKBONE.NAME == "build_resnet_backbone"
    assert config.MODEL.RPN.PRE_NMS_TOPK_TEST == 6000
    assert config.MODEL.RPN.CONV_DIMS == [-1]
    assert config.MODEL.ROI_HEADS.NAME == "Res5ROIHeads"
    assert config.MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS == (10.0, 10.0, 5.0, 5.0)
    assert config.MODEL.RESNETS.STRIDE_IN_1X1 is True
    assert (config.INPUT.MIN_SIZE_TEST, config.INPUT.MAX_SIZE_TEST, config.INPUT.FORMAT) == (800, 1333, "BGR")
    assert config.SOLVER.WEIGHT_DECAY_BIAS == 0.0001
    assert config.TEST.DETECTIONS_PER_IMAGE == 100
    assert flat(config) == flat(DEFAULTS)


def test_a_file_on_a_base_on_a_base_overrides_both(tmp_path: Path) -> None:
    # The shape of detectron2's own zoo: configs/COCO-Detection/x.yaml on ../Base-RCNN-FPN.yaml.
    write(tmp_path, "MODEL:\n  MASK_ON: True\n  FPN:\n    OUT_CHANNELS: 64\n    NORM: GN\nSEED: 1\n", "root.yaml")
    write(tmp_path, "_BASE_: root.yaml\nMODEL:\n  FPN:\n    OUT_CHANNELS: 32\nSEED: 2\n", "Base-RCNN-FPN.yaml")
    path = write(tmp_path, "_BASE_: ../Base-RCNN-FPN.yaml\nSEED: 3\n", "COCO-Detection/x.yaml")
    config = load_config(path)
    assert (config.MODEL.FPN.OUT_CHANNELS, config.MODEL.FPN.NORM) == (32, "GN")
    assert (config.MODEL.MASK_ON, config.SEED) == (True, 3)


def test_the_base_of_detectron2s_fpn_models_gives_its_values(tmp_path: Path) -> None:
    # Values of detectron2/configs/Base-RCNN-FPN.yaml that the file leaves to the defaults, and some that it sets.
    write(
        tmp_path,
        "MODEL:\n  BACKBONE:\n    NAME: build_resnet_fpn_backbone\n  ANCHOR_GENERATOR:\n"
        "    SIZES: [[32], [64], [128], [256], [512]]\n  RPN:\n    PRE_NMS_TOPK_TEST: 1000\n"
        "SOLVER:\n  STEPS: (60000, 80000)\n  BASE_LR: 0.02\nINPUT:\n  MIN_SIZE_TRAIN: (640, 672)\nVERSION: 2\n",
        "Base-RCNN-FPN.yaml",
    )
    config = load_config(write(tmp_path, '_BASE_: "Base-RCNN-FPN.yaml"\nMODEL:\n  RESNETS:\n    DEPTH: 101\n'))
    assert config.MODEL.ANCHOR_GENERATOR.SIZES == [[32], [64], [128], [256], [512]]
    assert config.SOLVER.STEPS == (60000, 80000)
    assert config.INPUT.MIN_SIZE_TRAIN == (640, 672)
    assert config.MODEL.RESNETS.DEPTH == 101
    assert config.MODEL.RPN.POST_NMS_TOPK_TEST == 1000


def test_several_bases_apply_in_their_order(tmp_path: Path) -> None:
    write(tmp_path, "SEED: 1\nVIS_PERIOD: 7\n", "a.yaml")
    write(tmp_path, "SEED: 2\n", "b.yaml")
    config = load_config(write(tmp_path, "_BASE_: [a.yaml, b.yaml]\n"))
    assert (config.SEED, config.VIS_PERIOD) == (2, 7)


def test_every_value_of_a_dumped_config_is_kept(demo_model: Path) -> None:
    path = demo_model / "config.yaml"
    dumped = flat(yaml.safe_load(path.read_text()))
    loaded = flat(yaml.safe_load(dump_config(load_config(path))))
    assert {key: loaded[key] for key in dumped} == dumped
    assert set(loaded) - set(dumped) == {
        # Keys that detectron2 got after 0.5, which dumped the file.
        "DATALOADER.REPEAT_SQRT",
        "FLOAT32_PRECISION",
        "MODEL.ROI_BOX_HEAD.FED_LOSS_FREQ_WEIGHT_POWER",
        "MODEL.ROI_BOX_HEAD.FED_LOSS_NUM_CLASSES",
        "MODEL.ROI_BOX_HEAD.USE_FED_LOSS",
        "MODEL.ROI_BOX_HEAD.USE_SIGMOID_CE",
        "SOLVER.BASE_LR_END",
        "SOLVER.NUM_DECAYS",
        "SOLVER.RESCALE_INTERVAL",
    }


def test_a_dump_loads_as_the_same_dump(demo_model: Path, tmp_path: Path) -> None:
    text = dump_config(load_config(demo_model / "config.yaml"))
    assert dump_config(load_config(write(tmp_path, text))) == text
    assert "&id" not in text


@given(text=st.text(max_size=20), number=st.floats(allow_nan=False), names=st.lists(st.text(max_size=5), max_size=3))
def test_a_dump_gives_back_any_value(
    tmp_path_factory: pytest.TempPathFactory, text: str, number: float, names: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("dump")
    config = load_config(write(folder, ""))
    config.defrost()
    config.OUTPUT_DIR, config.GLOBAL.HACK, config.DATASETS.TEST = text, number, tuple(names)
    again = load_config(write(folder, dump_config(config)))
    assert text == again.OUTPUT_DIR
    assert number == again.GLOBAL.HACK
    assert tuple(names) == again.DATASETS.TEST


def test_overrides_are_key_value_pairs_as_on_detectron2s_command_line(mask_model: Path) -> None:
    overrides = ["MODEL.WEIGHTS", "a/b c.pkl", "MODEL.DEVICE", "cpu", "INPUT.MIN_SIZE_TEST", "320"]
    overrides += ["MODEL.RPN.IN_FEATURES", "['p2', 'p3']", "DATASETS.TEST", "('x',)", "MODEL.MASK_ON", "False"]
    config = load_config(mask_model / "config.yaml", overrides)
    assert (config.MODEL.WEIGHTS, config.MODEL.DEVICE, config.INPUT.MIN_SIZE_TEST) == ("a/b c.pkl", "cpu", 320)
    assert (config.MODEL.RPN.IN_FEATURES, config.DATASETS.TEST, config.MODEL.MASK_ON) == (["p2", "p3"], ("x",), False)


@pytest.mark.parametrize(
    ("key", "text", "expected"),
    [
        ("DATASETS.TEST", "[a, b]", ("a", "b")),  # list to tuple
        ("MODEL.PIXEL_STD", "!!python/tuple [1, 2.5, 3]", [1, 2.5, 3]),  # tuple to list
        ("SOLVER.BASE_LR", "1", 1.0),
        ("SOLVER.BASE_LR", "1e-3", 0.001),  # text to YAML 1.1, a number to yacs
        ("SOLVER.WEIGHT_DECAY_BIAS", "null", None),  # as later releases dump it
        ("MODEL.WEIGHTS", "2021-01-01", "2021-01-01"),  # a date to YAML
    ],
)
def test_values_take_the_type_of_the_default(tmp_path: Path, key: str, text: str, expected: object) -> None:
    *above, last = key.split(".")
    lines = [f"{'  ' * depth}{name}:" for depth, name in enumerate([*above, last])]
    section = load_config(write(tmp_path, "\n".join(lines) + f" {text}\n"))
    for name in above:
        section = section[name]
    assert section[last] == expected
    assert type(section[last]) is type(expected)


def test_a_loaded_config_is_frozen(mask_model: Path) -> None:
    config = load_config(mask_model / "config.yaml")
    with pytest.raises(AttributeError):
        config.MODEL.MASK_ON = False


def test_loading_leaves_the_defaults_alone(tmp_path: Path) -> None:
    load_config(write(tmp_path, "MODEL:\n  PIXEL_MEAN: [1.0, 2.0, 3.0]\n"), ["SEED", "5"])
    config = load_config(write(tmp_path, ""))
    assert (config.MODEL.PIXEL_MEAN, config.SEED) == ([103.53, 116.28, 123.675], -1)


def test_unknown_keys_are_named_with_the_closest_one(tmp_path: Path) -> None:
    message = refusal(write(tmp_path, "MODEL:\n  WEIGHT_S: a\n  FNP:\n    NORM: GN\nNOTHING_LIKE_IT: 1\n"))
    assert "MODEL.WEIGHT_S (did you mean MODEL.WEIGHTS?)" in message
    assert "MODEL.FNP (did you mean MODEL.FPN?)" in message
    assert "NOTHING_LIKE_IT;" in message


@pytest.mark.parametrize(
    ("key", "closest"),
    [
        ("MODEL.ROI_HEADS.SCORE_THRESH", "MODEL.ROI_HEADS.SCORE_THRESH_TEST"),
        ("WEIGHTS", "MODEL.WEIGHTS"),
        ("model.device", "MODEL.DEVICE"),
        ("MODEL.RPN_CONV_DIMS", "MODEL.RPN.CONV_DIMS"),
        ("SEED.VALUE", None),
    ],
)
def test_an_unknown_override_is_named_with_the_closest_key(tmp_path: Path, key: str, closest: str | None) -> None:
    message = refusal(write(tmp_path, ""), key, "1")
    assert key in message
    assert closest is None or f"did you mean {closest}?" in message


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("MODEL:\n  MASK_ON: 1\n", "MODEL.MASK_ON"),
        ("MODEL:\n  FPN:\n    OUT_CHANNELS: wide\n", "MODEL.FPN.OUT_CHANNELS"),
        ("MODEL:\n  FPN:\n    OUT_CHANNELS: 1.5\n", "MODEL.FPN.OUT_CHANNELS"),
        ("MODEL:\n  FPN:\n    OUT_CHANNELS: {a: 1}\n", "MODEL.FPN.OUT_CHANNELS"),
        ("MODEL:\n  PIXEL_MEAN: [a, b, c]\n", "MODEL.PIXEL_MEAN"),
        ("MODEL:\n  PIXEL_MEAN: [1, 2, null]\n", "MODEL.PIXEL_MEAN"),
        ("MODEL:\n  RPN:\n    IN_FEATURES: [1]\n", "MODEL.RPN.IN_FEATURES"),
        ("MODEL: []\n", "MODEL"),
        ("MODEL:\n", "MODEL"),
        ("SOLVER:\n  WEIGHT_DECAY_BIAS: [{a: 1}]\n", "SOLVER.WEIGHT_DECAY_BIAS"),
        ("DATASETS:\n  TEST: [{a: 1}]\n", "DATASETS.TEST"),
        ("OUTPUT_DIR: '{1, 2}'\n", "OUTPUT_DIR"),
        ("SOLVER:\n  BASE_LR: 1" + "0" * 400 + "\n", "SOLVER.BASE_LR"),
    ],
)
def test_a_value_of_another_type_is_named(tmp_path: Path, text: str, named: str) -> None:
    assert f" {named} is " in refusal(write(tmp_path, text))


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["MODEL.WEIGHTS"], "'MODEL.WEIGHTS' has no partner"),
        (["MODEL.DEVICE", "cpu", "SEED"], "'SEED' has no partner"),
        (["MODEL", "x"], "MODEL is a section"),
        (["SEED", "one"], "SEED is 'one' (string)"),
        (["_BASE_", "x.yaml"], "has no key _BASE_"),
        (["", "x"], "has no key"),
    ],
)
def test_overrides_that_do_not_fit_are_refused(mask_model: Path, overrides: list[str], said: str) -> None:
    assert said in refusal(mask_model / "config.yaml", *overrides)


@pytest.mark.parametrize(
    "version", ["VERSION: 1\n", "VERSION: 3\n", "MODEL:\n  WEIGHT: x.pkl\n", "TEST:\n  AUG_ON: True\n"]
)
def test_another_version_is_refused_with_the_way_out(tmp_path: Path, version: str) -> None:
    message = refusal(write(tmp_path, version))
    assert "is not read, only 2" in message
    assert "cfg.dump()" in message


def test_a_missing_file_a_folder_and_a_missing_base_are_named(tmp_path: Path) -> None:
    assert "none.yaml: cannot be read (No such file or directory)" in refusal(tmp_path / "none.yaml")
    assert "cannot be read (Is a directory)" in refusal(tmp_path)
    assert "gone.yaml: cannot be read" in refusal(write(tmp_path, "_BASE_: gone.yaml\n"))


@pytest.mark.parametrize(
    "text",
    [
        "a: [1,\n",
        "\t: x",
        "- a\n- b\n",
        "just words",
        "a: b\n---\nc: d\n",
        "!!int abc",
        "? [a]\n: b\n",
        "a: !!bool x\n",
        "\0",
    ],
)
def test_what_is_not_a_yaml_mapping_is_refused(tmp_path: Path, text: str) -> None:
    assert str(tmp_path) in refusal(write(tmp_path, text))


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.yaml"
    path.write_bytes(b"\x80\x04\x95\xff\xfe")
    assert "not a config in plain YAML" in refusal(path)


@pytest.mark.parametrize(
    "value",
    [
        "!!python/object/apply:os.system ['touch {marker}']",
        "!!python/object/apply:eval [\"open('{marker}', 'w')\"]",
        "!!python/object/new:os.system ['touch {marker}']",
        "!!python/name:os.system",
        "!!python/object/apply:subprocess.check_output [['touch', '{marker}']]",
        "!Custom x",
        "!!binary aGk=",
        "!!set {{a, b}}",
    ],
)
def test_a_tag_that_would_run_or_build_something_is_refused_and_not_run(tmp_path: Path, value: str) -> None:
    marker = tmp_path / "ran"
    message = refusal(write(tmp_path, f"OUTPUT_DIR: {value.format(marker=marker)}\n"))
    assert "line 1: the tag '!" in message
    assert not marker.exists()


def test_aliases_that_multiply_are_refused(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    assert "expands to more than" in refusal(write(tmp_path, "\n".join(lines)))


def test_merge_keys_that_multiply_are_refused(tmp_path: Path) -> None:
    lines = ["a0: &a0 {x: 1, y: 2}"]
    lines += [f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}" for n in range(1, 12)]
    assert "expands to more than" in refusal(write(tmp_path, "\n".join(lines)))


@pytest.mark.parametrize("version", ["1", "3", "None"])
def test_an_override_cannot_say_another_version(tmp_path: Path, version: str) -> None:
    assert "VERSION" in refusal(write(tmp_path, ""), "VERSION", version)
    assert load_config(write(tmp_path, ""), ["VERSION", "2"]).VERSION == 2


@pytest.mark.parametrize("depth", [40, 330, 480])
def test_nesting_that_python_could_read_but_not_walk_is_refused(tmp_path: Path, depth: int) -> None:
    nested = "[" * depth + "]" * depth
    assert "nested too deeply" in refusal(write(tmp_path, f"DATASETS:\n  TEST: {nested}\n"))
    # Each list holds the one before it, and is written no deeper than that.
    lists = "".join(f"a{n}: &a{n} [{f'*a{n - 1}' if n else ''}]\n" for n in range(depth))
    assert "nested too deeply" in refusal(write(tmp_path, lists))


def test_a_literal_that_is_nested_deeply_is_no_value(tmp_path: Path) -> None:
    nested = "[" * 190 + "]" * 190
    assert "give a value of type tuple" in refusal(write(tmp_path, f"DATASETS:\n  TEST: '{nested}'\n"))
    assert "give a value of type tuple" in refusal(write(tmp_path, ""), "DATASETS.TEST", nested)


def test_an_alias_to_itself_deep_nesting_and_a_huge_file_are_refused(tmp_path: Path) -> None:
    assert "alias to itself" in refusal(write(tmp_path, "DATASETS:\n  TEST: &a [*a]\n"))
    assert "nested too deeply" in refusal(write(tmp_path, "a: " + "[" * 5000 + "]" * 5000))
    assert "larger than 256 KB" in refusal(write(tmp_path, "#" * 300_000))


@pytest.mark.parametrize("value", ["(" * 4000, "-" * 4000 + "1", "[" * 150 + "]" * 150, "9" * 4000, "'" + "\\" * 99])
def test_a_literal_made_to_break_the_parser_is_text_or_refused(tmp_path: Path, value: str) -> None:
    read = refused = None
    try:
        read = load_config(write(tmp_path, ""), ["OUTPUT_DIR", value]).OUTPUT_DIR
    except ConfigError as error:
        refused = str(error)
    assert read == value or "OUTPUT_DIR is " in str(refused)


def test_bases_in_a_circle_are_refused(tmp_path: Path) -> None:
    write(tmp_path, "_BASE_: b.yaml\n", "a.yaml")
    write(tmp_path, "_BASE_: sub/../a.yaml\n", "b.yaml")
    (tmp_path / "sub").mkdir()
    assert "leads back to" in refusal(tmp_path / "a.yaml")
    assert "leads back to" in refusal(write(tmp_path, "_BASE_: me.yaml\n", "me.yaml"))


def test_bases_without_end_are_refused(tmp_path: Path) -> None:
    for number in range(40):
        write(tmp_path, f"_BASE_: {number + 1}.yaml\n", f"{number}.yaml")
    assert "fewer layers" in refusal(tmp_path / "0.yaml")


def test_bases_that_multiply_are_refused(tmp_path: Path) -> None:
    write(tmp_path, "", "0.yaml")
    for number in range(1, 25):
        write(tmp_path, f"_BASE_: [{number - 1}.yaml, {number - 1}.yaml]\n", f"{number}.yaml")
    assert "fewer layers" in refusal(tmp_path / "24.yaml")


@pytest.mark.parametrize("base", ["https://example.com/a.yaml", "s3://bucket/a.yaml", "detectron2://a.yaml"])
def test_a_base_that_would_be_fetched_is_refused(tmp_path: Path, base: str) -> None:
    assert "download it" in refusal(write(tmp_path, f"_BASE_: {base}\n"))


@pytest.mark.parametrize("base", ["3", "''", "{a: b}", "[[a.yaml]]"])
def test_a_base_that_names_no_file_is_refused(tmp_path: Path, base: str) -> None:
    assert "name a file" in refusal(write(tmp_path, f"_BASE_: {base}\n"))


def test_a_config_that_is_a_pipe_or_a_device_is_refused_before_it_is_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for base in ("pipe", "/dev/zero"):
        assert "Is a pipe, a socket or a device, not a file" in refusal(write(tmp_path, f"_BASE_: {base}\n"))
    assert "Is a pipe" in refusal(tmp_path / "pipe")


@pytest.mark.parametrize(
    ("base", "said"),
    [
        ("circle", "Too many levels of symbolic links"),
        ("~nobody-of-that-name/x", "No such file or directory"),
        ('"\\0"', "No path has such characters"),
        ('"\\ud800"', "No path has such characters"),
        ("x" * 300, "File name too long"),
    ],
)
def test_a_base_that_leads_nowhere_is_refused(tmp_path: Path, base: str, said: str) -> None:
    (tmp_path / "circle").symlink_to("circle")
    assert said in refusal(write(tmp_path, f"_BASE_: {base}\n"))


def test_a_number_that_python_would_not_write_down_is_refused(tmp_path: Path) -> None:
    # Hexadecimal digits are read without end; more than 4300 decimal ones are not written.
    assert "a whole number of more than" in refusal(write(tmp_path, f"SEED: 0x{'f' * 9000}\n"))
    assert "SEED is a number of thousands of digits" in refusal(write(tmp_path, f"SEED: '0x{'f' * 3900}'\n"))
    assert "MODEL.PIXEL_MEAN is " in refusal(write(tmp_path, f"MODEL: {{PIXEL_MEAN: [1, 2, 0x{'f' * 900}]}}\n"))
    assert "SEED is " in refusal(write(tmp_path, ""), "SEED", "9" * 400)


@pytest.mark.parametrize(
    ("overrides", "iou_types", "classes"),
    [
        ([], ("bbox",), 80),
        (["MODEL.MASK_ON", "True"], ("bbox", "segm"), 80),
        (["MODEL.KEYPOINT_ON", "True", "MODEL.ROI_HEADS.NUM_CLASSES", "1"], ("bbox", "keypoints"), 1),
        (
            ["MODEL.META_ARCHITECTURE", "PanopticFPN", "MODEL.MASK_ON", "True"],
            ("bbox", "segm", "panoptic_seg", "sem_seg"),
            80,
        ),
        # Of a RetinaNet what the config says of other heads means nothing.
        (
            ["MODEL.META_ARCHITECTURE", "RetinaNet", "MODEL.MASK_ON", "True", "MODEL.RETINANET.NUM_CLASSES", "7"],
            ("bbox",),
            7,
        ),
    ],
)
def test_what_is_measured_of_a_model_is_what_its_heads_find(tmp_path, overrides, iou_types, classes):
    (tmp_path / "config.yaml").write_text("{}\n")
    config = load_config(tmp_path / "config.yaml", overrides)
    assert measures(config).iou_types == iou_types
    assert class_count(config) == classes


def test_the_sigmas_of_keypoints_are_the_configs(tmp_path):
    (tmp_path / "config.yaml").write_text("TEST: {KEYPOINT_OKS_SIGMAS: [0.1, 0.2]}\nMODEL: {KEYPOINT_ON: true}\n")
    assert measures(load_config(tmp_path / "config.yaml")).oks_sigmas == (0.1, 0.2)
    assert measures(load_config(tmp_path / "config.yaml", ["MODEL.KEYPOINT_ON", "False"])).oks_sigmas == ()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            "MODEL:\n  ROI_MASK_HEAD:\n    FC_DIM: 256\n  POINT_HEAD:\n    NUM_CLASSES: 80\n",
            ["POINT_HEAD", "grid_sample"],
        ),
        ("MODEL:\n  TENSOR_MASK:\n    ALIGNED_ON: True\n", ["MODEL.TENSOR_MASK", "SwapAlign2Nat", "Mask R-CNN"]),
    ],
)
def test_the_config_of_a_project_that_cannot_be_converted_says_why(tmp_path, content, said):
    (tmp_path / "config.yaml").write_text(content)
    with pytest.raises(ConfigError) as refused:
        load_config(tmp_path / "config.yaml")
    assert "\n" not in str(refused.value)
    assert all(part in str(refused.value) for part in said)
