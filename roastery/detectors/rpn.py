"""Region proposal network: its head, and its proposals by Caffe2's operators."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from yacs.config import CfgNode

from roastery.detectors.anchors import AnchorGenerator, build_anchor_generator
from roastery.detectors.backbone import ShapeSpec, levels
from roastery.detectors.batch import each_image
from roastery.detectors.convolution import Convolution
from roastery.detectors.registries import PROPOSAL_GENERATOR_REGISTRY, RPN_HEAD_REGISTRY
from roastery.ops import collect_rpn_proposals, generate_proposals


class StandardRPNHead(nn.Module):
    """3x3 convolutions shared by all levels, then 1x1 for objectness and for anchor deltas."""

    def __init__(self, in_channels: int, anchors_per_cell: int, conv_dims: list[int]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = in_channels
        for dim in conv_dims:
            out = channels if dim == -1 else dim
            layers.append(Convolution(channels, out, 3, padding=1, activation=F.relu))
            channels = out
        # One layer is `conv` itself, several are `conv.conv0`, `conv.conv1`, ... in detectron2's checkpoints.
        self.conv: nn.Module = layers[0]
        if len(layers) > 1:
            self.conv = nn.Sequential()
            for index, layer in enumerate(layers):
                self.conv.add_module(f"conv{index}", layer)
        self.objectness_logits = nn.Conv2d(channels, anchors_per_cell, 1)
        self.anchor_deltas = nn.Conv2d(channels, anchors_per_cell * 4, 1)

    def forward(self, features: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Features of each level to objectness (N, A, H, W) and deltas (N, 4A, H, W) of each level."""
        hidden = [self.conv(feature) for feature in features]
        return [self.objectness_logits(x) for x in hidden], [self.anchor_deltas(x) for x in hidden]


class RPN(nn.Module):
    """Proposals from features, by GenerateProposals for each level and CollectRpnProposals over all of them."""

    def __init__(
        self,
        rpn_head: nn.Module,
        anchor_generator: AnchorGenerator,
        in_features: list[str],
        *,
        pre_nms_topk: int,
        post_nms_topk: int,
        nms_thresh: float,
        min_box_size: float,
        box_weights: tuple[float, ...],
    ) -> None:
        super().__init__()
        self.rpn_head = rpn_head
        self.anchor_generator = anchor_generator
        self.in_features = in_features
        self.pre_nms_topk = pre_nms_topk
        self.post_nms_topk = post_nms_topk
        self.nms_thresh = nms_thresh
        self.min_box_size = min_box_size
        # GenerateProposals takes deltas of weight 1; others are divided out first, one factor for each channel.
        factors = [1.0 / weight for weight in box_weights] * anchor_generator.anchors_per_cell
        self.delta_factors: Tensor | None
        unit = all(weight == 1.0 for weight in box_weights)
        self.register_buffer(
            "delta_factors", None if unit else torch.tensor(factors).reshape(-1, 1, 1), persistent=False
        )

    def forward(self, features: dict[str, Tensor], im_info: Tensor) -> Tensor:
        """Proposals (n, 5) float32, images in order: batch index, then xyxy in pixels of the padded image."""
        objectness, deltas = self._maps(features)
        if len(objectness) == 1:
            return self._generate(0, objectness[0], deltas[0], im_info)[0]
        images = [
            _of_image(self._collect(*self._levels(maps, info)), index)
            for index, (info, *maps) in enumerate(_by_image(objectness, deltas, im_info))
        ]
        return images[0] if len(images) == 1 else torch.cat(images)

    def scored(self, features: dict[str, Tensor], im_info: Tensor) -> tuple[Tensor, Tensor]:
        """Proposals as `forward` gives them, and the objectness logit of each, (n,), falling within an image."""
        objectness, deltas = self._maps(features)
        if len(objectness) == 1:
            return self._generate(0, objectness[0], deltas[0], im_info)
        rois, logits = [], []
        for index, (info, *maps) in enumerate(_by_image(objectness, deltas, im_info)):
            boxes, scores = self._levels(maps, info)
            # CollectRpnProposals orders rows and gives no scores: so each stands where the image's index did.
            rows = [
                torch.cat([score.reshape(-1, 1), box[:, 1:]], dim=1) for box, score in zip(boxes, scores, strict=True)
            ]
            collected = self._collect(rows, scores)
            logits.append(collected[:, 0])
            rois.append(_of_image(collected * collected.new_tensor([[0.0, 1.0, 1.0, 1.0, 1.0]]), index))
        return (rois[0], logits[0]) if len(rois) == 1 else (torch.cat(rois), torch.cat(logits))

    def _maps(self, features: dict[str, Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Objectness and deltas of each level; the deltas for weights of 1."""
        objectness, deltas = self.rpn_head([features[name] for name in self.in_features])
        if self.delta_factors is not None:
            deltas = [level * self.delta_factors for level in deltas]
        return objectness, deltas

    def _levels(
        self, maps: Sequence[tuple[Tensor, Tensor]], im_info: Tensor
    ) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Proposals of one image and their scores, level by level, of objectness and deltas of each."""
        found = [self._generate(level, scores, moves, im_info) for level, (scores, moves) in enumerate(maps)]
        rois, scores = zip(*found, strict=True)
        return rois, scores

    def _collect(self, rows: Sequence[Tensor], scores: Sequence[Tensor]) -> Tensor:
        """The rows (n, 5) that score best over all levels of one image, best first."""
        collected: Tensor = collect_rpn_proposals(
            [*rows, *scores],
            # Only the number of levels counts; the original writes 2 for the lowest whatever it is.
            rpn_max_level=2 + len(rows) - 1,
            rpn_min_level=2,
            rpn_post_nms_topN=self.post_nms_topk,
        )
        return collected

    def _generate(self, level: int, objectness: Tensor, deltas: Tensor, im_info: Tensor) -> tuple[Tensor, Tensor]:
        """Proposals of a level and their scores."""
        rois: Tensor
        probabilities: Tensor
        rois, probabilities = generate_proposals(
            objectness,
            deltas,
            im_info,
            self.anchor_generator.cell_anchors[level],
            spatial_scale=1.0 / self.anchor_generator.strides[level],
            pre_nms_topN=self.pre_nms_topk,
            post_nms_topN=self.post_nms_topk,
            nms_thresh=self.nms_thresh,
            min_size=_at_least_above(self.min_box_size),
            angle_bound_on=True,
            angle_bound_lo=-180,
            angle_bound_hi=180,
            clip_angle_thresh=1.0,
            legacy_plus_one=False,
        )
        return rois, probabilities


def _by_image(objectness: Sequence[Tensor], deltas: Sequence[Tensor], im_info: Tensor) -> Iterator[tuple[Any, ...]]:
    """Each image's row of `im_info`, then objectness and deltas of each level.

    CollectRpnProposals takes the best of a whole batch together, so each image goes alone.
    """
    levels = [zip(each_image(x), each_image(y), strict=True) for x, y in zip(objectness, deltas, strict=True)]
    return zip(each_image(im_info), *levels, strict=True)


def _of_image(rois: Tensor, index: int) -> Tensor:
    """RoIs (n, 5) of image 0 as those of image `index`."""
    return rois + rois.new_tensor([[float(index), 0.0, 0.0, 0.0, 0.0]]) if index else rois


def _at_least_above(size: float) -> float:
    """The bound for which Caffe2's `side >= bound` means detectron2's `side > size`.

    For 0 it is the smallest normal float32, because kernels may flush denormals: so boxes of no width, which would
    give NaN features in RoIAlign, are dropped as detectron2 drops them, and as the original's nets do not.
    """
    return float(max(np.nextafter(np.float32(size), np.float32(np.inf)), np.finfo(np.float32).tiny))


def build_proposal_generator(config: CfgNode, input_shape: Mapping[str, ShapeSpec]) -> RPN:
    """The proposal generator that the config names, without weights.

    Raises:
        ConfigError: there is none of that name, or it cannot be built.
    """
    name = config.MODEL.PROPOSAL_GENERATOR.NAME
    build = PROPOSAL_GENERATOR_REGISTRY.look_up("MODEL.PROPOSAL_GENERATOR.NAME", name)
    built: RPN = build(config, input_shape)
    return built


@RPN_HEAD_REGISTRY.register_as("StandardRPNHead")
def build_standard_rpn_head(config: CfgNode, input_shape: Sequence[ShapeSpec]) -> StandardRPNHead:
    """The head that detectron2 calls `StandardRPNHead`, for levels of these shapes."""
    anchors = build_anchor_generator(config, input_shape).anchors_per_cell
    return StandardRPNHead(input_shape[0].channels or 0, anchors, list(config.MODEL.RPN.CONV_DIMS))


@PROPOSAL_GENERATOR_REGISTRY.register_as("RPN")
def build_rpn(config: CfgNode, input_shape: Mapping[str, ShapeSpec]) -> RPN:
    """The RPN that `config.MODEL.RPN` describes, without weights.

    Raises:
        ConfigError: an RPN that has no Caffe2 form here.
    """
    rpn = config.MODEL.RPN
    head = RPN_HEAD_REGISTRY.look_up("MODEL.RPN.HEAD_NAME", rpn.HEAD_NAME)
    levels(input_shape, rpn.IN_FEATURES, "MODEL.RPN.IN_FEATURES")
    shapes = [input_shape[name] for name in rpn.IN_FEATURES]
    anchors = build_anchor_generator(config, shapes)
    return RPN(
        head(config, shapes),
        anchors,
        list(rpn.IN_FEATURES),
        pre_nms_topk=rpn.PRE_NMS_TOPK_TEST,
        post_nms_topk=rpn.POST_NMS_TOPK_TEST,
        nms_thresh=rpn.NMS_THRESH,
        min_box_size=float(config.MODEL.PROPOSAL_GENERATOR.MIN_SIZE),
        box_weights=tuple(rpn.BBOX_REG_WEIGHTS),
    )
