"""Checkpoints of Detectron, detectron2's predecessor on Caffe2: their blobs by detectron2's names.

A blob is named by its layer and its parameter, `res2_0_branch2a_w`. Layers get the names that detectron2's parts have
in themselves; where in a model the part lies, `roastery.loose_names` finds out.

Source: detectron2 0.6, checkpoint/c2_model_loading.py (`convert_c2_detectron_names`) and
checkpoint/detection_checkpoint.py; Detectron, detectron/modeling/, for what else lies in such a file.
"""

import re
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

_PARAMETERS = {
    "w": "weight",
    "b": "bias",
    "bn_s": "norm.weight",
    "bn_b": "norm.bias",
    "bn_gamma": "norm.weight",
    "bn_beta": "norm.bias",
    "bn_rm": "norm.running_mean",
    "bn_running_mean": "norm.running_mean",
    "bn_riv": "norm.running_var",
    "bn_running_var": "norm.running_var",
    "gn_s": "norm.weight",
    "gn_b": "norm.bias",
}
_BLOB = re.compile(rf"(?P<layer>.+?)_(?P<parameter>{'|'.join(sorted(_PARAMETERS, key=len, reverse=True))})")
_LAYERS = {
    r"(?:res_)?conv1": r"stem.conv1",
    r"(res\d)_(\d+)_branch1": r"\1.\2.shortcut",
    r"(res\d)_(\d+)_branch2a": r"\1.\2.conv1",
    r"(res\d)_(\d+)_branch2b": r"\1.\2.conv2",
    r"(res\d)_(\d+)_branch2c": r"\1.\2.conv3",
    r"fpn_inner_res(\d)_\d+_sum(?:_lateral)?": r"fpn_lateral\1",
    r"fpn_res(\d)_\d+_sum": r"fpn_output\1",
    # With FPN it is made for level 2, and shared by the others.
    r"conv_rpn(?:_fpn2)?": r"proposal_generator.rpn_head.conv",
    r"rpn_cls_logits(?:_fpn2)?": r"proposal_generator.rpn_head.objectness_logits",
    r"rpn_bbox_pred(?:_fpn2)?": r"proposal_generator.rpn_head.anchor_deltas",
    r"fc6": r"box_head.fc1",
    r"fc7": r"box_head.fc2",
    r"head_conv(\d+)": r"box_head.conv\1",
    r"cls_score": r"cls_score",
    r"bbox_pred": r"bbox_pred",
    r"_\[mask\]_fcn(\d+)": r"mask_head.mask_fcn\1",
    r"conv5_mask": r"mask_head.deconv",
    r"mask_fcn_logits": r"mask_head.predictor",
    r"conv_fcn(\d+)": r"roi_heads.keypoint_head.conv_fcn\1",
    r"kps_score_lowres": r"roi_heads.keypoint_head.score_lowres",
}
# Momenta; the classifier that the backbone was trained with, and a bias that it had; an upsampling that is fixed.
_NOT_OF_A_DETECTOR = re.compile(r".*_momentum|(?:fc1000|pred)_[wb]|conv1_b|kps_score_[wb]|__preserve__/.*")
_BOX_COORDINATES = 4


def is_caffe2(names: Iterable[object]) -> bool:
    """Whether the tensors of a pickle are named as blobs are: a module's names have dots."""
    texts = [name for name in names if isinstance(name, str)]
    return any(_BLOB.fullmatch(name) for name in texts) and not any("." in name for name in texts)


def is_of_a_detector(blob: str) -> bool:
    """Whether a detector may need a blob."""
    return _NOT_OF_A_DETECTOR.fullmatch(blob) is None


def from_caffe2(blobs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Blobs by detectron2's names, with the background's class where detectron2 has it: last among the scores, and
    nowhere among boxes and masks. What has no such name keeps its own.

    Raises:
        ValueError: two blobs would have one name.
    """
    tensors: dict[str, Tensor] = {}
    for blob, tensor in blobs.items():
        name = _renamed(blob)
        if name in tensors:
            raise ValueError(f"two of its blobs are {name}")
        tensors[name] = _without_background_first(name, tensor)
    return tensors


def _renamed(blob: str) -> str:
    parts = _BLOB.fullmatch(blob)
    if parts is None:
        return blob
    for pattern, layer in _LAYERS.items():
        found = re.fullmatch(pattern, parts["layer"])
        if found:
            return f"{found.expand(layer)}.{_PARAMETERS[parts['parameter']]}"
    return blob


def _without_background_first(name: str, tensor: Tensor) -> Tensor:
    layer = name.rpartition(".")[0]
    if not tensor.ndim:
        # A number has no classes; that it does not fit is said where it goes.
        return tensor
    if layer == "cls_score":
        return torch.cat([tensor[1:], tensor[:1]])
    if layer == "bbox_pred":
        return tensor[_BOX_COORDINATES:]
    return tensor[1:] if layer == "mask_head.predictor" else tensor
