"""The second stage of C4 models: res5 over each RoI, shared by boxes and masks.

Source: detectron2 0.5, modeling/roi_heads/roi_heads.py (Res5ROIHeads), for names and layout.
"""

from collections.abc import Mapping

from torch import Tensor, nn
from yacs.config import CfgNode

from roastery.detectors.backbone import ShapeSpec, levels
from roastery.detectors.box_head import FastRCNNOutputLayers
from roastery.detectors.mask_head import build_mask_head
from roastery.detectors.poolers import RoIPooler, build_pooler
from roastery.detectors.registries import ROI_HEADS_REGISTRY
from roastery.detectors.resnet import STAGES, build_stage, refuse_deformable
from roastery.detectors.roi_heads import RoIHeads, Selection, build_selection, move_boxes
from roastery.errors import ConfigError

_RES5 = STAGES.index("res5")
_BLOCKS = 3


class Res5RoIHeads(RoIHeads):
    """Pooled features (n, C, S, S) through res5, to (n, 2C, S/2, S/2): what is classified, and masks are made of.

    Masks are of the detections, so those are pooled, and go through res5, once more.
    """

    def __init__(
        self,
        in_features: list[str],
        selection: Selection,
        pooler: RoIPooler,
        res5: nn.Module,
        box_predictor: nn.Module,
        box_weights: list[float],
        mask_head: nn.Module | None,
    ) -> None:
        super().__init__(in_features, selection, mask_head, keypoint_head=None)
        self.pooler = pooler
        self.res5 = res5
        self.box_predictor = box_predictor
        self.box_weights = box_weights

    def predict(self, maps: list[Tensor], rois: Tensor, im_info: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        logits, deltas = self.box_predictor(self._features(maps, rois).mean(dim=[2, 3]))
        return self.selection.probabilities(logits), *move_boxes(rois, deltas, im_info, self.box_weights)

    def branches(self, maps: list[Tensor], found: Tensor) -> list[Tensor]:
        return [] if self.mask_head is None else [self.mask_head.layers(self._features(maps, found)).sigmoid()]

    def _features(self, maps: list[Tensor], rois: Tensor) -> Tensor:
        features: Tensor = self.res5(self.pooler(maps, rois))
        return features


@ROI_HEADS_REGISTRY.register_as("Res5ROIHeads")
def build_res5_heads(config: CfgNode, input_shape: Mapping[str, ShapeSpec]) -> Res5RoIHeads:
    """The heads that detectron2 calls `Res5ROIHeads`, without weights.

    Raises:
        ConfigError: keypoints, several levels, a depth of basic blocks, or a part that has no Caffe2 form here.
    """
    model = config.MODEL
    names = list(model.ROI_HEADS.IN_FEATURES)
    channels, strides = levels(input_shape, names, "MODEL.ROI_HEADS.IN_FEATURES")
    out_channels = model.RESNETS.RES2_OUT_CHANNELS * 2**_RES5
    if model.KEYPOINT_ON:
        raise ConfigError("MODEL.KEYPOINT_ON: Res5ROIHeads have no keypoints; use StandardROIHeads")
    if len(names) > 1:
        raise ConfigError(f"MODEL.ROI_HEADS.IN_FEATURES: Res5ROIHeads take one map, not {names}; use StandardROIHeads")
    if channels != out_channels // 2:
        raise ConfigError(
            f"MODEL.ROI_HEADS.IN_FEATURES: {names[0]} has {channels} channels, but res5 takes res4's "
            f"{out_channels // 2}; use res4"
        )
    refuse_deformable(config)
    pooler = build_pooler(model.ROI_BOX_HEAD, "MODEL.ROI_BOX_HEAD", strides, empty_rois=True)
    return Res5RoIHeads(
        names,
        build_selection(config),
        pooler,
        build_stage(config, _RES5, channels, _BLOCKS, first_stride=2),
        FastRCNNOutputLayers(out_channels, model.ROI_HEADS.NUM_CLASSES, model.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG),
        [float(weight) for weight in model.ROI_BOX_HEAD.BBOX_REG_WEIGHTS],
        build_mask_head(config, out_channels) if model.MASK_ON else None,
    )
