"""What is an address of a checkpoint, and which URL it stands for."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roastery.errors import CheckpointError, ConfigError
from roastery.spec import load_models
from roastery.weights.address import SUFFIXES, check_address, is_address, locate

ZOO = "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x/137849600/model_final_f10217.pkl"


@pytest.fixture(autouse=True)
def _published(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROASTERY_DETECTRON2_URL", "https://mirror.example/d2/")


def test_addresses_are_told_from_paths_and_from_references_to_the_registry() -> None:
    for address in ("detectron2://a.pkl", "https://a/b.pkl", "s3://a/b.pkl", "catalog://x", "nonsense://x.pkl"):
        assert is_address(address)
    for path in ("a.pkl", "/a/b.pkl", "a//b.pkl", "models:/a/1", "models:/a@b", "C:/a.pkl", "a:b.pkl", "://a.pkl", ""):
        assert not is_address(path)


@pytest.mark.parametrize("base", ["https://mirror.example/d2/", "https://mirror.example/d2"])
def test_detectron2s_addresses_begin_at_the_place_that_is_set(base: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROASTERY_DETECTRON2_URL", base)
    where = locate(f"detectron2://{ZOO}")
    assert where.url == f"https://mirror.example/d2/{ZOO}"
    assert (where.address, where.name) == (f"detectron2://{ZOO}", "model_final_f10217.pkl")
    # MODEL_ZOO.md: "any model on this page contains its md5 prefix in its file name".
    assert where.md5 == "f10217"
    monkeypatch.delenv("ROASTERY_DETECTRON2_URL")
    assert locate(f"detectron2://{ZOO}").url.endswith(f".com/detectron2/{ZOO}")


@pytest.mark.parametrize(
    "address", ["detectron2://ImageNetPretrained/MSRA/R-50.pkl", "https://a.example/COCO-x/model_final_f10217.pkl"]
)
def test_other_files_names_say_nothing_of_their_content(address: str) -> None:
    assert locate(address).md5 is None


@pytest.mark.parametrize(
    ("name", "path"),
    [
        # detectron2's checkpoint/catalog.py.
        ("ImageNetPretrained/FAIR/X-152-32x8d-IN5k", "ImageNetPretrained/25093814/X-152-32x8d-IN5k.pkl"),
        (
            "Caffe2Detectron/COCO/35858933/e2e_mask_rcnn_R-50-FPN_1x",
            "35858933/12_2017_baselines/e2e_mask_rcnn_R-50-FPN_1x.yaml.01_48_14.DzEQe4wC/output/train/"
            "coco_2014_train%3Acoco_2014_valminusminival/generalized_rcnn/model_final.pkl",
        ),
        (
            "Caffe2Detectron/COCO/37697547/e2e_keypoint_rcnn_R-50-FPN_1x",
            "37697547/12_2017_baselines/e2e_keypoint_rcnn_R-50-FPN_1x.yaml.08_42_54.kdzV35ao/output/train/"
            "keypoints_coco_2014_train%3Akeypoints_coco_2014_valminusminival/generalized_rcnn/model_final.pkl",
        ),
        (
            "Caffe2Detectron/COCO/48616381/e2e_mask_rcnn_R-50-FPN_2x_gn",
            "GN/48616381/04_2018_gn_baselines/e2e_mask_rcnn_R-50-FPN_2x_gn_0416.13_23_38.bTlTI97Q/output/train/"
            "coco_2014_train%3Acoco_2014_valminusminival/generalized_rcnn/model_final.pkl",
        ),
    ],
)
def test_the_catalogs_names_lie_beside_detectron2s_models(name: str, path: str) -> None:
    assert locate(f"catalog://{name}").url == f"https://mirror.example/detectron/{path}"


def test_a_name_that_the_catalog_does_not_have_is_refused_with_those_that_it_has() -> None:
    with pytest.raises(CheckpointError, match="catalog has no such model; it has ImageNetPretrained/MSRA/R-50, "):
        check_address("catalog://ImageNetPretrained/MSRA/R-5000")


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("memory://a.pkl", "is no address that is fetched; use one of detectron2://, "),
        ("github://a:b@main/a.pkl", "is no address that is fetched"),
        ("HTTPS://a/b.pkl", "is no address that is fetched"),
        ("simplecache::https://a/b.pkl", "is no address that is fetched"),
        ("https://a/b.zip::file://c.pkl", "chains addresses"),
        ("https://a/b c.pkl", "characters"),
        ("https://a/b\n.pkl", "characters"),
        ("https://a/model_final", "is not a checkpoint by its name; use one of .pkl, "),
        ("https://a/", "is not a checkpoint by its name"),
        ("https://[a/b.pkl", "is not a whole address"),
        ("s3://bucket/model.onnx", "is not a checkpoint by its name"),
        ("file://elsewhere/a.pkl", "names another machine"),
    ],
)
def test_an_address_that_could_not_be_fetched_is_refused_unasked(address: str, words: str) -> None:
    with pytest.raises(CheckpointError) as refused:
        check_address(address)
    assert words in str(refused.value)


@given(st.text(), st.sampled_from(["https://host/", "s3://bucket/", "detectron2://"]), st.sampled_from(SUFFIXES))
def test_a_files_name_leads_nowhere_else_and_keeps_its_suffix(text: str, start: str, suffix: str) -> None:
    try:
        name = locate(f"{start}{text}{suffix}").name
    except CheckpointError:
        return
    assert Path(name).name == name
    assert name[0] not in ".-"
    assert Path(name).suffix in SUFFIXES
    assert len(name) < 100
    assert name.isascii()
    assert name.isprintable()
    assert name not in ("record.json", "partial", "partial.json")


def test_a_query_is_no_part_of_a_files_name() -> None:
    assert locate("https://a.example/m.pth?download=1#x").name == "m.pth"


def test_a_registered_models_weights_may_be_an_address_and_a_bad_one_is_refused_when_it_is_read(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    file = tmp_path / "models/a.yaml"
    file.write_text(f"name: a\nconfig: a.yaml\nweights: detectron2://{ZOO}\ndataset: d\n")
    assert load_models(tmp_path / "models")["a"].weights == f"detectron2://{ZOO}"
    for weights, words in (
        ("memory://a.pkl", "is no address"),
        ("https://me:hush@a.example/b.pkl", "holds a password"),
    ):
        file.write_text(f"name: a\nconfig: a.yaml\nweights: {weights}\ndataset: d\n")
        with pytest.raises(ConfigError, match=words):
            load_models(tmp_path / "models")
