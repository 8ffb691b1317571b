"""A LazyConfig: code that runs when its model is built, and is read for its digest without."""

from pathlib import Path

import pytest

from roastery.errors import ConfigError
from roastery.results import ModelSource
from roastery.sources.live.lazy import is_lazy, lazy_sha256, own_keys, run_lazy
from roastery.sources.source import open_source

LAZY = """
from detectron2 import model_zoo
from .common.anchors import sizes

model = model_zoo.get_config("common/models/mask_rcnn_fpn.py").model
model.roi_heads.num_classes = 3
model.roi_heads.box_predictor.test_topk_per_image = 7
model.proposal_generator.anchor_generator.sizes = sizes
dataloader = model_zoo.get_config("common/data/coco.py").dataloader
dataloader.test.dataset.names = "owls_val"
dataloader.test.mapper.augmentations[0].short_edge_length = 320
dataloader.test.mapper.augmentations[0].max_size = 640
train = dict(init_checkpoint="owls.pkl")
"""


@pytest.fixture
def lazy(tmp_path: Path) -> Path:
    (tmp_path / "common").mkdir()
    (tmp_path / "common/anchors.py").write_text("sizes = [[32], [64], [128], [256], [512]]\n")
    file = tmp_path / "owls.py"
    file.write_text(LAZY)
    return file


@pytest.mark.detectron2
def test_a_lazy_config_gives_the_keys_that_roastery_reads(lazy: Path) -> None:
    source = open_source(ModelSource(kind="detectron2", config=str(lazy)))
    config = source.config
    assert source.weights == "owls.pkl"
    assert (config.INPUT.MIN_SIZE_TEST, config.INPUT.MAX_SIZE_TEST) == (320, 640)
    assert tuple(config.DATASETS.TEST) == ("owls_val",)
    assert config.MODEL.META_ARCHITECTURE == "GeneralizedRCNN"
    assert (config.MODEL.ROI_HEADS.NUM_CLASSES, config.MODEL.MASK_ON) == (3, True)
    assert config.TEST.DETECTIONS_PER_IMAGE == 7
    assert list(config.MODEL.PIXEL_MEAN) == [103.53, 116.28, 123.675]
    assert source.size_divisibility() == 32
    source.require_convertible()


@pytest.mark.detectron2
def test_overrides_are_pairs_of_its_own_keys(lazy: Path) -> None:
    overrides = ("model.roi_heads.num_classes", "5", "train.init_checkpoint", "other.pkl")
    source = open_source(ModelSource(kind="detectron2", config=str(lazy), overrides=overrides))
    assert source.config.MODEL.ROI_HEADS.NUM_CLASSES == 5
    assert source.weights == "other.pkl"
    with pytest.raises(ConfigError, match=r"'train\.seed' has no partner"):
        run_lazy(lazy, ("train.seed",))
    with pytest.raises(ConfigError, match=r"overrides: .*; mend the key or its value"):
        run_lazy(lazy, ("train.seed", "[["))


@pytest.mark.detectron2
def test_a_file_without_a_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data.py").write_text("train = dict(seed=1)\n")
    with pytest.raises(ConfigError, match="has no `model`"):
        run_lazy(tmp_path / "data.py", ())


def test_the_digest_is_of_all_that_it_imports_and_runs_none(lazy: Path) -> None:
    (lazy.parent / "ran").unlink(missing_ok=True)
    lazy.write_text("open('ran', 'w')\nfrom .common.anchors import sizes\nraise RuntimeError\n")
    first = lazy_sha256(lazy)
    (lazy.parent / "common/anchors.py").write_text("from ..owls import more\nsizes = []\n")
    second = lazy_sha256(lazy)
    lazy.write_text("from .common.anchors import sizes\n")
    assert len({first, second, lazy_sha256(lazy)}) == 3
    assert not Path("ran").exists()


def test_what_it_imports_in_vain_or_is_no_python_is_refused(lazy: Path) -> None:
    lazy.write_text("from .nowhere import model\n")
    with pytest.raises(ConfigError, match=r"nowhere\.py: cannot be read"):
        lazy_sha256(lazy)
    lazy.write_text("model = (\n")
    with pytest.raises(ConfigError, match=r"owls\.py: is no Python"):
        lazy_sha256(lazy)


def test_what_a_config_does_not_say_is_left_to_the_defaults() -> None:
    assert own_keys({"model": {}}) == {}
    assert is_lazy("a.py")
    assert not is_lazy("a.yaml")
