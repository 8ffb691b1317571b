"""The config that Roastery reads of a live model: what its own config says, and over it what the model is.

Sampling, preprocessing, evaluation and the net's arguments read these keys alone.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from yacs.config import CfgNode

from roastery.config import known_keys
from roastery.detectors.detector import Detector
from roastery.detectors.generalized_rcnn import GeneralizedRCNN
from roastery.detectors.panoptic_fpn import PanopticFPN
from roastery.detectors.retinanet import RetinaNet


def roastery_config(own: Mapping[str, Any], model: Any, detector: Detector) -> CfgNode:
    """A config with every key of detectron2's defaults, frozen.

    Args:
        own: what the model's config says, under detectron2's keys; keys of the user's own are left out.
        model: the live model.
        detector: the detector with its modules.
    """
    tree = known_keys(own)
    node = tree["MODEL"]
    node["META_ARCHITECTURE"] = detector.meta_architecture
    node["PIXEL_MEAN"] = _shortest(detector.pixel_mean)
    node["PIXEL_STD"] = _shortest(detector.pixel_std)
    tree["INPUT"]["FORMAT"] = getattr(model, "input_format", None) or tree["INPUT"]["FORMAT"]
    if isinstance(detector, RetinaNet):
        node["RETINANET"]["NUM_CLASSES"] = detector.decoder.classes
        tree["TEST"]["DETECTIONS_PER_IMAGE"] = detector.decoder.detections_per_image
    if isinstance(detector, GeneralizedRCNN):
        heads = detector.roi_heads
        node["ROI_HEADS"]["NUM_CLASSES"] = int(model.roi_heads.num_classes)
        node["MASK_ON"], node["KEYPOINT_ON"] = heads.mask_head is not None, heads.keypoint_head is not None
        node["LOAD_PROPOSALS"] = detector.proposal_generator is None
        tree["TEST"]["DETECTIONS_PER_IMAGE"] = heads.selection.detections_per_image
    if isinstance(detector, PanopticFPN):
        combine = node["PANOPTIC_FPN"]["COMBINE"]
        combine["OVERLAP_THRESH"] = detector.overlap_threshold
        combine["STUFF_AREA_LIMIT"] = detector.stuff_area_limit
        combine["INSTANCES_CONFIDENCE_THRESH"] = detector.instances_confidence_threshold
    config = CfgNode(tree)
    config.freeze()
    return config


def _shortest(values: Tensor) -> list[float]:
    """float32 values as the shortest decimals that give them, as they stood in a config: 103.53."""
    return [float(str(value)) for value in values.flatten().numpy()]
