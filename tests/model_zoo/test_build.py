"""Small models: each its config's, the same each time, and with norms that have seen something."""

import torch

from model_zoo.build import build_small, distinct
from model_zoo.configs import CONFIGS
from model_zoo.small import small
from model_zoo.variants import MODELS
from roastery.detectors.convolution import FrozenBatchNorm2d

NAME = "COCO-Detection/faster_rcnn_R_50_FPN_1x.yaml"


def test_every_config_is_one_of_a_distinct_model() -> None:
    models = distinct()
    assert sorted(name for names in models.values() for name in names) == sorted(MODELS)
    # A schedule makes no other model, nor does a loss.
    assert len(models[NAME]) == 2
    assert "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x_giou.yaml" not in models


def test_what_makes_a_config_that_config_is_kept() -> None:
    narrowed = ("CHANNELS", "WIDTH_PER_GROUP", "_DIM", "_DIMS")
    narrowed += ("TOPK_TEST", "TOPK_CANDIDATES_TEST", "DETECTIONS_PER_IMAGE", "DEVICE")
    for name, settings in CONFIGS.items():
        changed = {key for key, value in small(settings).items() if settings.get(key) != value}
        assert [key for key in changed if not key.endswith(narrowed)] == [], name


def test_a_seed_gives_the_same_weights_and_images_and_another_gives_others() -> None:
    first, again, other = build_small(NAME, 1), build_small(NAME, 1), build_small(NAME, 2)
    for (key, mine), theirs in zip(
        first.detector.state_dict().items(), again.detector.state_dict().values(), strict=True
    ):
        assert mine.equal(theirs), key
    assert first.inputs[0]["image"].equal(again.inputs[0]["image"])
    assert not first.inputs[0]["image"].equal(other.inputs[0]["image"])


def test_no_norm_is_as_it_was_made() -> None:
    norms = [module for module in build_small(NAME).detector.modules() if isinstance(module, FrozenBatchNorm2d)]
    assert len(norms) == 53
    for norm in norms:
        for tensor, made in zip(norm.buffers(), (1.0, 0.0, 0.0, 1.0), strict=True):
            assert (tensor != made).any()
            assert tensor.isfinite().all()
        assert torch.unique(norm.running_mean).numel() == norm.running_mean.numel()
