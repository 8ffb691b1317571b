import json

import pytest

from roastery.caffe2.nets import load_nets, save_nets
from roastery.config import load_config
from roastery.conversion_manifest import ReadFrom, write_manifest
from roastery.digest import file_sha256
from roastery.results import ParitySummary
from roastery.targets import target_of

CAFFE2 = target_of("caffe2")


@pytest.fixture(scope="module")
def nets(any_golden):
    return load_nets(any_golden)


@pytest.fixture(scope="module")
def source(mask_model):
    return ReadFrom(load_config(mask_model / "config.yaml"), "model_final.pkl", "ab" * 32, 1234)


def parity(passed=True):
    differences = () if passed else ("sample 0: bbox_nms differs",)
    return ParitySummary(passed=passed, images=1, differences=differences, largest={"bbox_nms": 0.0}, runtime="torch")


def test_the_manifest_has_the_digest_of_every_file_beside_it(nets, source, tmp_path):
    save_nets(nets, tmp_path)

    sizes = write_manifest(tmp_path, CAFFE2, CAFFE2.describe(tmp_path), source, [parity()], None)

    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert set(manifest["files"]) == {"model.pb", "model_init.pb", "model.pbtxt"}
    for name, facts in manifest["files"].items():
        assert facts == {"bytes": (tmp_path / name).stat().st_size, "sha256": file_sha256(tmp_path / name)}
    assert set(sizes) == {*manifest["files"], "manifest.json"}


@pytest.mark.parametrize("passed", [True, False])
def test_the_verdict_is_parity_in_every_runtime(any_golden, source, tmp_path, passed):
    write_manifest(tmp_path, CAFFE2, CAFFE2.describe(any_golden), source, [parity(), parity(passed)], None)

    verdict = json.loads((tmp_path / "manifest.json").read_text())["verdict"]
    assert verdict["passed"] is passed
    assert verdict["evaluation"] is None


def test_the_configs_digest_is_the_same_wherever_its_weights_lie(mask_model):
    file = mask_model / "config.yaml"
    one, two = (
        ReadFrom(load_config(file, ["MODEL.WEIGHTS", weights, "OUTPUT_DIR", weights]), "w", "", 0).config_sha256
        for weights in ("a.pkl", "/elsewhere/b.pkl")
    )
    other = ReadFrom(load_config(file, ["MODEL.RPN.NMS_THRESH", "0.6"]), "w", "", 0).config_sha256

    assert one == two
    assert one != other
