"""RetinaNet as it is deployed: a head over all levels, raw or decoded inside the net."""

from collections.abc import Sequence
from itertools import chain

from torch import Tensor, nn
from yacs.config import CfgNode

from roastery.detectors.anchors import AnchorGenerator, build_anchor_generator
from roastery.detectors.backbone import Backbone, levels
from roastery.detectors.convolution import build_norm
from roastery.detectors.detector import Detector, NetArgument
from roastery.detectors.retinanet_decoder import RetinaNetDecoder
from roastery.errors import ConfigError


class RetinaNetHead(nn.Module):
    """Two towers of convolutions, shared by all levels: class logits (N, A * K, H, W) and deltas (N, A * 4, H, W)."""

    def __init__(self, channels: int, anchors_per_cell: int, classes: int, convolutions: int, norm: str) -> None:
        super().__init__()
        self.cls_subnet = _tower(channels, convolutions, norm)
        self.bbox_subnet = _tower(channels, convolutions, norm)
        self.cls_score = nn.Conv2d(channels, anchors_per_cell * classes, 3, padding=1)
        self.bbox_pred = nn.Conv2d(channels, anchors_per_cell * 4, 3, padding=1)

    def forward(self, features: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        logits = [self.cls_score(self.cls_subnet(feature)) for feature in features]
        return logits, [self.bbox_pred(self.bbox_subnet(feature)) for feature in features]


def _tower(channels: int, convolutions: int, norm: str) -> nn.Sequential:
    # Numbered as they come, norms among them: so are detectron2's keys.
    layers: list[nn.Module] = []
    for _ in range(convolutions):
        layers.append(nn.Conv2d(channels, channels, 3, padding=1))
        built = build_norm(norm, channels, "MODEL.RETINANET.NORM")
        layers += [nn.ReLU()] if built is None else [built, nn.ReLU()]
    return nn.Sequential(*layers)


class RetinaNet(Detector):
    """One-stage detector.

    Raw, it gives what the original's nets give: im_info as it came, feature_i, box_cls_i (N, A * K, H, W) logits and
    box_delta_i (N, A * 4, H, W). After `give_detections` it gives detections.
    """

    meta_architecture = "RetinaNet"

    def __init__(
        self,
        backbone: Backbone,
        head: nn.Module,
        anchor_generator: AnchorGenerator,
        in_features: list[str],
        decoder: RetinaNetDecoder,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
    ) -> None:
        super().__init__(backbone, pixel_mean, pixel_std)
        self.head = head
        self.anchor_generator = anchor_generator
        self.in_features = in_features
        self.decoder = decoder
        self.decode = False

    def give_detections(self) -> None:
        """Give detections from now on, instead of the raw maps.

        Raises:
            ConfigError: a threshold that decoding cannot keep.
        """
        if self.decoder.score_thresh < 0 or self.decoder.topk_candidates < 1:
            raise ConfigError(
                f"MODEL.RETINANET: SCORE_THRESH_TEST {self.decoder.score_thresh} and TOPK_CANDIDATES_TEST "
                f"{self.decoder.topk_candidates} cannot be decoded inside the net; they must be at least 0 and 1"
            )
        self.decode = True

    def output_names(self, batch: int) -> list[str]:
        if self.decode:
            return ["bbox_nms", "score_nms", "class_nms"] + (["batch_splits"] if batch > 1 else [])
        numbers = range(len(self.in_features))
        maps = chain.from_iterable((f"box_cls_{level}", f"box_delta_{level}") for level in numbers)
        return ["im_info", *(f"feature_{level}" for level in numbers), *maps]

    def net_arguments(self) -> dict[str, NetArgument]:
        """The original's thresholds and, as plain numbers, the anchors that its nets hold as a pickle."""
        arguments: dict[str, NetArgument] = {
            "score_threshold": self.decoder.score_thresh,
            "topk_candidates": self.decoder.topk_candidates,
            "nms_threshold": self.decoder.nms_thresh,
            "max_detections_per_image": self.decoder.detections_per_image,
            "bbox_reg_weights": self.decoder.box_weights,
            "anchor_strides": self.anchor_generator.strides,
        }
        for level, anchors in enumerate(self.anchor_generator.cell_anchors):
            arguments[f"cell_anchors_{level}"] = anchors.flatten().tolist()
        return arguments

    def forward(self, data: Tensor, im_info: Tensor) -> tuple[Tensor, ...]:
        features = self.features(data)
        maps = [features[name] for name in self.in_features]
        logits, deltas = self.head(maps)
        if self.decode:
            detections: tuple[Tensor, ...] = self.decoder(logits, deltas)
            return detections
        return im_info, *maps, *chain.from_iterable(zip(logits, deltas, strict=True))


def build_retinanet(config: CfgNode, backbone: Backbone) -> RetinaNet:
    """The RetinaNet that `config.MODEL.RETINANET` describes, without weights.

    Raises:
        ConfigError: levels that the backbone does not have.
    """
    node = config.MODEL.RETINANET
    names = list(node.IN_FEATURES)
    shapes = backbone.output_shape()
    channels, _ = levels(shapes, names, "MODEL.RETINANET.IN_FEATURES")
    anchors = build_anchor_generator(config, [shapes[name] for name in names])
    decoder = RetinaNetDecoder(
        anchors,
        node.NUM_CLASSES,
        score_thresh=float(node.SCORE_THRESH_TEST),
        topk_candidates=node.TOPK_CANDIDATES_TEST,
        nms_thresh=float(node.NMS_THRESH_TEST),
        detections_per_image=config.TEST.DETECTIONS_PER_IMAGE,
        box_weights=[float(weight) for weight in node.BBOX_REG_WEIGHTS],
    )
    head = RetinaNetHead(channels, anchors.anchors_per_cell, node.NUM_CLASSES, node.NUM_CONVS, node.NORM)
    model = config.MODEL
    return RetinaNet(backbone, head, anchors, names, decoder, model.PIXEL_MEAN, model.PIXEL_STD)
