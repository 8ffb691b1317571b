import pytest
import torch

from roastery.config import load_config
from roastery.conversion_inputs import find_dataset, find_weights, sample_inputs
from roastery.data.dataset import load_dataset
from roastery.errors import CheckpointError, ConfigError, DatasetError


@pytest.fixture
def config_with(mask_model):
    def load(*overrides):
        return load_config(mask_model / "config.yaml", overrides)

    return load


@pytest.fixture
def registered(tmp_path, shapes):
    folder = tmp_path / "registered"
    folder.mkdir()
    val, sample = shapes / "val", shapes / "sample"
    (folder / "a.yaml").write_text(
        f"name: shapes_val\nimages: {val / 'images'}\nannotations: {val / 'instances.json'}\n"
        f"sample_images: {sample / 'images'}\nsample_annotations: {sample / 'instances.json'}\n"
    )
    return folder


def test_weights_are_taken_from_the_working_directory_before_the_configs_folder(tmp_path, monkeypatch):
    config_file = tmp_path / "model/config.yaml"
    config_file.parent.mkdir()
    monkeypatch.chdir(tmp_path)
    beside = config_file.parent / "w.pkl"
    beside.touch()

    assert find_weights("w.pkl", config_file).resolve() == beside
    (tmp_path / "w.pkl").touch()
    assert find_weights("w.pkl", config_file).resolve() == tmp_path / "w.pkl"
    assert find_weights(str(beside), config_file) == beside


def test_weights_that_are_nowhere_are_named_with_the_places_looked_at(tmp_path):
    with pytest.raises(CheckpointError, match=rf"w.pkl: no such checkpoint \(nor in {tmp_path}\)"):
        find_weights("w.pkl", tmp_path / "config.yaml")


@pytest.mark.parametrize(
    "name", ["~nobody-at-all/w.pkl", "~\ud800.pkl", "x" * 300, "a\0b.pkl", "x/" * 3000, "<script>"]
)
def test_weights_that_no_path_leads_to_are_refused(tmp_path, name):
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        find_weights(name, tmp_path / "config.yaml")


@pytest.mark.parametrize("names", ["[[1]]", "[3]", "['../../etc/passwd']", "['<script>']"])
def test_what_is_no_datasets_name_is_none_that_is_registered(registered, tmp_path, names):
    (tmp_path / "config.yaml").write_text(f"DATASETS: {{TEST: {names}}}")
    config = load_config(tmp_path / "config.yaml")
    assert find_dataset(config, registered, required=False) is None
    with pytest.raises(ConfigError, match="no dataset"):
        find_dataset(config, registered, required=True)


def test_the_dataset_is_the_first_that_the_config_tests_on(config_with, registered):
    spec = find_dataset(config_with("DATASETS.TEST", "('shapes_val', 'other')"), registered, required=True)

    assert spec is not None
    assert spec.name == "shapes_val"


def test_a_dataset_that_is_not_registered_is_missed_only_where_it_is_needed(config_with, registered, tmp_path):
    config = config_with("DATASETS.TEST", "('other',)")

    assert find_dataset(config, registered, required=False) is None
    assert find_dataset(config, tmp_path / "none", required=False) is None
    with pytest.raises(ConfigError, match=r"no dataset 'other' in .*registered \(it has shapes_val\)"):
        find_dataset(config, registered, required=True)
    with pytest.raises(ConfigError, match="there is no such folder"):
        find_dataset(config, tmp_path / "none", required=True)
    with pytest.raises(ConfigError, match=r"DATASETS\.TEST is empty"):
        find_dataset(config_with("DATASETS.TEST", "()"), registered, required=True)


def test_one_of_detectron2s_is_taken_where_it_lies_and_missed_only_where_it_is_needed(
    config_with, registered, tmp_path, monkeypatch
):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "data"))
    config = config_with("DATASETS.TEST", "('coco_2017_val',)")

    # Every config of the model zoo names it, whether there is a COCO or not.
    assert find_dataset(config, registered, required=False) is None
    needed = find_dataset(config, registered, required=True)
    assert needed is not None
    with pytest.raises(DatasetError, match=r"coco_2017_val: .*instances_val2017\.json is not there; unpack COCO's"):
        load_dataset(needed)
    for place in ("coco/annotations", "coco/val2017"):
        (tmp_path / "data" / place).mkdir(parents=True)
    (tmp_path / "data/coco/annotations/instances_val2017.json").touch()
    assert find_dataset(config, registered, required=False) == needed


def test_a_name_that_is_nearly_one_of_detectron2s_is_told(config_with, registered):
    with pytest.raises(
        ConfigError, match=r"nor in detectron2; near it are voc_2007_test, .*; register it there as YAML"
    ):
        find_dataset(config_with("DATASETS.TEST", "('voc2007_test',)"), registered, required=True)


def test_images_that_are_given_are_the_sample(config_with, registered, shapes):
    config = config_with()
    image = shapes / "val/images/000001.jpg"

    inputs, told = sample_inputs(config, find_dataset(config, registered, required=True), [image])

    assert len(inputs) == 1
    assert told == "1 given image"


def test_else_the_datasets_own_sample_is_taken_the_same_each_time(config_with, registered):
    config = config_with()
    spec = find_dataset(config, registered, required=True)

    one, told = sample_inputs(config, spec)
    two, _ = sample_inputs(config, spec)

    assert told == "4 images of shapes_val"
    assert [single["image_id"] for single in one] == [single["image_id"] for single in two]
    assert all(torch.equal(a["image"], b["image"]) for a, b in zip(one, two, strict=True))


def test_without_any_an_image_is_drawn_of_the_size_that_the_model_takes(config_with):
    config = config_with()

    (one,), told = sample_inputs(config, None)
    (two,), _ = sample_inputs(config, None)

    assert "drawn" in told
    assert min(one["image"].shape[1:]) == config.INPUT.MIN_SIZE_TEST
    assert torch.equal(one["image"], two["image"])
    assert one["image"].unique().numel() > 20


def test_a_model_that_takes_proposals_is_evaluated_on_those_that_its_config_names(config_with, registered, web):
    web.files["/detectron2/rpn/proposals.pkl"] = b"proposals"
    names = ["DATASETS.TEST", "('shapes_val',)"]
    names += ["DATASETS.PROPOSAL_FILES_TEST", "('detectron2://rpn/proposals.pkl',)"]
    loading = ["MODEL.LOAD_PROPOSALS", "True"]
    spec = find_dataset(config_with(*names, *loading), registered, required=True)
    assert spec.proposals.read_bytes() == b"proposals"
    # Nets are compared on any boxes, and another model takes none.
    assert find_dataset(config_with(*names, *loading), registered, required=False).proposals is None
    assert find_dataset(config_with(*names), registered, required=True).proposals is None
    # What the dataset names itself goes first.
    (registered / "a.yaml").write_text((registered / "a.yaml").read_text() + "proposals: own.pkl\n")
    assert find_dataset(config_with(*names, *loading), registered, required=True).proposals.name == "own.pkl"
