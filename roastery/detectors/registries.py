"""detectron2's registries, of parts that are deployed: a decorator, and then the name in the config.

A registered part is called as detectron2 calls it: a meta-architecture with `(cfg)`, all others with
`(cfg, input_shape)`; see each registry. `docs/how-to/your-own-model.md` has an example.

Source: detectron2 0.6, modeling/*/build.py and the modules beside them, for names and what is passed.
"""

from collections.abc import Callable
from typing import Any, TypeVar

from fvcore.common.registry import Registry as FvcoreRegistry

from roastery.detectors.known import require_known

Part = TypeVar("Part", bound=Callable[..., Any])


class Registry(FvcoreRegistry):  # type: ignore[misc]
    """fvcore's, which names a part as its class or function is named; ours may have another name than detectron2's."""

    def register_as(self, name: str) -> Callable[[Part], Part]:
        """Register under detectron2's name."""

        def register(part: Part) -> Part:
            self._do_register(name, part)
            return part

        return register

    def look_up(self, key: str, name: str) -> Any:
        """The part that a config key names.

        Raises:
            ConfigError: it names none that is registered.
        """
        require_known(key, name, sorted(known for known, _ in self))
        return self.get(name)


META_ARCH_REGISTRY = Registry("META_ARCH")
"""`(cfg)` to a `Detector`. Its `meta_architecture` says which of detectron2's its outputs are read as."""

BACKBONE_REGISTRY = Registry("BACKBONE")
"""`(cfg, input_shape: ShapeSpec)` to a `Backbone`; the channels of `input_shape` are the image's."""

PROPOSAL_GENERATOR_REGISTRY = Registry("PROPOSAL_GENERATOR")
"""`(cfg, input_shape: dict[str, ShapeSpec])` to an `RPN`."""

RPN_HEAD_REGISTRY = Registry("RPN_HEAD")
"""`(cfg, input_shape: list[ShapeSpec])` to a module: maps of each level to objectness (N, A, H, W) and anchor deltas
(N, 4A, H, W) of each level."""

ANCHOR_GENERATOR_REGISTRY = Registry("ANCHOR_GENERATOR")
"""`(cfg, input_shape: list[ShapeSpec])` to an `AnchorGenerator`."""

ROI_HEADS_REGISTRY = Registry("ROI_HEADS")
"""`(cfg, input_shape: dict[str, ShapeSpec])` to a `RoIHeads`."""

ROI_BOX_HEAD_REGISTRY = Registry("ROI_BOX_HEAD")
"""`(cfg, input_shape: ShapeSpec)` to a module: (n, C, S, S) to what `output_shape`, a ShapeSpec, says."""

ROI_MASK_HEAD_REGISTRY = Registry("ROI_MASK_HEAD")
"""`(cfg, input_shape: ShapeSpec)` to a module whose `layers(x)` gives logits (n, classes or 1, 2S, 2S)."""

ROI_KEYPOINT_HEAD_REGISTRY = Registry("ROI_KEYPOINT_HEAD")
"""`(cfg, input_shape: ShapeSpec)` to a module whose `layers(x)` gives heatmaps (n, K, S, S)."""

SEM_SEG_HEADS_REGISTRY = Registry("SEM_SEG_HEADS")
"""`(cfg, input_shape: dict[str, ShapeSpec])` to a module: maps by name to (logits (N, classes, H, W), losses)."""
