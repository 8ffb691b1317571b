"""Detectron's checkpoints: a detector whose weights are written as Detectron wrote them is the same detector again."""

import io
import pickle
import struct
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from roastery.checkpoint import load_checkpoint, load_into
from roastery.config import load_config
from roastery.detectors.detector import Detector
from roastery.errors import CheckpointError
from roastery.sources.native import build_detector, load_detector

# Detectron's own names, of detectron/modeling (ResNet.py, FPN.py, rpn_heads.py, fast_rcnn_heads.py, mask_rcnn_heads.py,
# keypoint_rcnn_heads.py), in this order: a layer of detectron2's, and the blob's name without its `_w`.
LAYERS = {
    "proposal_generator.rpn_head.conv": "conv_rpn_fpn2",
    "proposal_generator.rpn_head.objectness_logits": "rpn_cls_logits_fpn2",
    "proposal_generator.rpn_head.anchor_deltas": "rpn_bbox_pred_fpn2",
    "roi_heads.box_head.fc1": "fc6",
    "roi_heads.box_head.fc2": "fc7",
    "roi_heads.box_predictor.cls_score": "cls_score",
    "roi_heads.box_predictor.bbox_pred": "bbox_pred",
    "roi_heads.mask_head.deconv": "conv5_mask",
    "roi_heads.mask_head.predictor": "mask_fcn_logits",
    "roi_heads.keypoint_head.score_lowres": "kps_score_lowres",
    "backbone.bottom_up.stem.conv1": "conv1",
    "backbone.fpn_lateral5": "fpn_inner_res5_2_sum",
}
LAYERS |= {f"roi_heads.mask_head.mask_fcn{n}": f"_[mask]_fcn{n}" for n in range(1, 5)}
LAYERS |= {f"roi_heads.keypoint_head.conv_fcn{n}": f"conv_fcn{n}" for n in range(1, 9)}
for stage, blocks in enumerate((3, 4, 6, 3), start=2):
    for block in range(blocks):
        layer, blob = f"backbone.bottom_up.res{stage}.{block}", f"res{stage}_{block}"
        LAYERS |= {f"{layer}.conv{n}": f"{blob}_branch2{'abc'[n - 1]}" for n in (1, 2, 3)}
        LAYERS[f"{layer}.shortcut"] = f"{blob}_branch1"
    LAYERS[f"backbone.fpn_output{stage}"] = f"fpn_res{stage}_{blocks - 1}_sum"
    LAYERS.setdefault(f"backbone.fpn_lateral{stage}", f"fpn_inner_res{stage}_{blocks - 1}_sum_lateral")
PARAMETERS = {"weight": "w", "bias": "b", "norm.weight": "bn_s", "norm.bias": "bn_b"}


def blobs_of(detector: Detector) -> dict[str, np.ndarray]:
    """A detector's weights as Detectron would have them: background first, and no statistics of norms."""
    blobs = {}
    for name, tensor in detector.state_dict().items():
        layer, separator, parameter = name.rpartition(".norm.")
        if not separator:
            layer, _, parameter = name.rpartition(".")
        parameter = f"{separator}{parameter}".lstrip(".")
        if layer not in LAYERS or parameter not in PARAMETERS:
            assert "running_" in name or "num_batches" in name or name.startswith("pixel_"), name
            continue
        blob, values = f"{LAYERS[layer]}_{PARAMETERS[parameter]}", tensor.numpy()
        if blob.startswith("conv1_bn"):
            blob = f"res_{blob}"
        if layer.endswith("cls_score"):
            values = np.concatenate([values[-1:], values[:-1]])
        elif layer.endswith("bbox_pred"):
            values = np.concatenate([np.full((4, *values.shape[1:]), 7, np.float32), values])
        elif layer.endswith("mask_head.predictor"):
            values = np.concatenate([np.full((1, *values.shape[1:]), 7, np.float32), values])
        blobs[blob] = values
    return blobs


class Python2Pickler(pickle._Pickler):
    """Writes text and bytes as Python 2 did: as strings of bytes, without saying which."""

    dispatch: ClassVar[dict[type, Any]] = dict(pickle._Pickler.dispatch)

    def save_string(self, value: str | bytes) -> None:
        raw = value.encode("latin-1") if isinstance(value, str) else bytes(value)
        short = len(raw) < 256
        self.write(b"U" + bytes([len(raw)]) + raw if short else b"T" + struct.pack("<i", len(raw)) + raw)
        self.memoize(value)

    dispatch[str] = dispatch[bytes] = save_string


def python2_pickle(content: Any) -> bytes:
    out = io.BytesIO()
    Python2Pickler(out, protocol=2).dump(content)
    return out.getvalue().replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")


@pytest.fixture(params=["masks", "keypoints"])
def demo(request: pytest.FixtureRequest, shapes: Path) -> Path:
    """A demo model's config: of one that finds masks, and of one that finds keypoints."""
    key = {"masks": "MASK_ON", "keypoints": "KEYPOINT_ON"}[request.param]
    for file in sorted(shapes.glob("*/config.yaml")):
        model = load_config(file).MODEL
        if model[key] and model.META_ARCHITECTURE == "GeneralizedRCNN":
            return file
    raise AssertionError(key)


@pytest.fixture
def drawn(demo: Path) -> Detector:
    """Its detector with drawn weights, in which every class differs, and norms that are a scale and a shift."""
    detector = build_detector(load_config(demo))
    generator = torch.Generator().manual_seed(0)
    for name, tensor in detector.state_dict().items():
        if tensor.is_floating_point() and not name.startswith("pixel_"):
            tensor.copy_(torch.randn(tensor.shape, generator=generator))
        if name.endswith("running_mean"):
            tensor.zero_()
        if name.endswith("running_var"):
            tensor.fill_(1)
    return detector


# What Detectron leaves in a file beside a detector: momenta, the classifier of the backbone's training, an upsampling.
BESIDE = {
    "fc6_w_momentum": np.ones((2, 2), np.float32),
    "fc1000_w": np.ones((10, 4), np.float32),
    "fc1000_b": np.ones(10, np.float32),
    "conv1_b": np.ones(16, np.float32),
    "kps_score_w": np.ones((3, 3, 4, 4), np.float32),
    "kps_score_b": np.ones(3, np.float32),
}


def same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


def test_a_detector_as_detectron_wrote_it_is_the_same_detector(drawn: Detector, demo: Path, tmp_path: Path) -> None:
    path = tmp_path / "model_final.pkl"
    path.write_bytes(python2_pickle({"blobs": blobs_of(drawn) | BESIDE, "cfg": "MODEL: {TYPE: x}\n" * 500}))
    assert b"latin1" not in path.read_bytes()
    assert pickle.loads(path.read_bytes(), encoding="latin1")["blobs"].keys() == (blobs_of(drawn) | BESIDE).keys()
    same(load_detector(load_config(demo), path).state_dict(), drawn.state_dict())


def test_so_is_one_that_python_3_wrote(drawn: Detector, demo: Path, tmp_path: Path) -> None:
    path = tmp_path / "model_final.pkl"
    path.write_bytes(pickle.dumps({"blobs": blobs_of(drawn)}))
    same(load_detector(load_config(demo), path).state_dict(), drawn.state_dict())


def test_statistics_of_norms_are_taken_where_a_file_has_them(drawn: Detector, demo: Path, tmp_path: Path) -> None:
    blobs = blobs_of(drawn)
    blobs["res_conv1_bn_rm"] = np.arange(len(blobs["res_conv1_bn_s"]), dtype=np.float32)
    blobs["res_conv1_bn_riv"] = blobs["res_conv1_bn_rm"] + 2
    (tmp_path / "model.pkl").write_bytes(pickle.dumps({"blobs": blobs}))
    norm = load_detector(load_config(demo), tmp_path / "model.pkl").state_dict()
    stem = "backbone.bottom_up.stem.conv1.norm"
    assert torch.equal(norm[f"{stem}.running_mean"], torch.from_numpy(blobs["res_conv1_bn_rm"]))
    assert torch.equal(norm[f"{stem}.running_var"], torch.from_numpy(blobs["res_conv1_bn_riv"]))


@pytest.mark.parametrize("wrapped", [True, False], ids=["blobs", "flat"])
def test_a_backbone_of_imagenet_is_called_that(drawn: Detector, demo: Path, tmp_path: Path, wrapped: bool) -> None:
    backbone = {
        name: blob for name, blob in (blobs_of(drawn) | BESIDE).items() if name.startswith(("conv1", "res", "fc1000"))
    }
    (tmp_path / "R-50.pkl").write_bytes(python2_pickle({"blobs": backbone} if wrapped else backbone))
    with pytest.raises(CheckpointError, match=r"R-50\.pkl: .*give a trained detector's checkpoint, not a backbone's"):
        load_detector(load_config(demo), tmp_path / "R-50.pkl")


def test_blobs_that_no_detector_has_are_named_as_they_are(drawn: Detector, demo: Path, tmp_path: Path) -> None:
    blobs = blobs_of(drawn) | {"retnet_cls_pred_fpn3_w": np.zeros((2, 2), np.float32)}
    (tmp_path / "model.pkl").write_bytes(pickle.dumps({"blobs": blobs}))
    with pytest.raises(CheckpointError, match="1 surplus: retnet_cls_pred_fpn3_w"):
        load_detector(load_config(demo), tmp_path / "model.pkl")


@pytest.mark.parametrize(
    ("blobs", "words"),
    [
        ({"conv1_w": "text"}, "conv1_w is a str, not a tensor"),
        ({3: np.zeros(2)}, "holds a int as a tensor's name"),
        ({"res2_0_branch1_bn_s": np.zeros(2), "res2_0_branch1_bn_gamma": np.zeros(2)}, "two of its blobs are res2.0"),
        ({"conv1_w_momentum": np.zeros(2)}, "holds no tensors"),
    ],
)
def test_blobs_that_are_none_are_refused(tmp_path: Path, blobs: dict[Any, Any], words: str) -> None:
    (tmp_path / "model.pkl").write_bytes(pickle.dumps({"blobs": blobs}))
    with pytest.raises(CheckpointError, match=words):
        load_checkpoint(tmp_path / "model.pkl")


def test_a_number_in_the_place_of_weights_is_one_that_does_not_fit(drawn: Detector, tmp_path: Path) -> None:
    (tmp_path / "model.pkl").write_bytes(pickle.dumps({"blobs": blobs_of(drawn) | {"cls_score_w": np.array(1.0)}}))
    with pytest.raises(CheckpointError, match=r"of another shape: roi_heads.box_predictor.cls_score.weight \(\)"):
        load_into(drawn, load_checkpoint(tmp_path / "model.pkl"), "model.pkl")
