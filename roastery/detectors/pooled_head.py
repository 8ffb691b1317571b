"""A head over the pooled maps of RoIs, whichever the config names."""

from typing import Any

from yacs.config import CfgNode

from roastery.detectors.backbone import ShapeSpec
from roastery.detectors.registries import Registry


def build_pooled_head(registry: Registry, config: CfgNode, section: str, channels: int, usual: str = "") -> Any:
    """The head that a section of MODEL names, over maps of these channels and of its POOLER_RESOLUTION.

    Args:
        section: "ROI_BOX_HEAD", "ROI_MASK_HEAD" or "ROI_KEYPOINT_HEAD".
        usual: the head where the config names none.

    Raises:
        ConfigError: there is no such head, or it cannot be built.
    """
    node = config.MODEL[section]
    build = registry.look_up(f"MODEL.{section}.NAME", node.NAME or usual)
    size = node.POOLER_RESOLUTION
    return build(config, ShapeSpec(channels=channels, height=size, width=size))
