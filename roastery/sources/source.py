"""Where a detector and its original come from: our parts and our reference, or a live detectron2 model."""

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from yacs.config import CfgNode

from roastery.config import load_config
from roastery.detectors.detector import Detector
from roastery.extensions import import_extensions
from roastery.reference.build import build_reference
from roastery.results import ModelSource, OriginalKind
from roastery.sources import native
from roastery.sources.live.build import LiveConfig, read_live_config
from roastery.sources.live.describe import roastery_config
from roastery.sources.live.original import LiveOriginal
from roastery.sources.live.slots import detector_of
from roastery.sources.live.weights import load_weights

Original = Callable[[Sequence[Mapping[str, Any]]], list[dict[str, Any]]]
"""What the converted model is measured by: detectron2's inputs to detectron2's answers."""


class Loaded:
    """A detector with a checkpoint's weights, and its original, which shares them."""

    def __init__(self, detector: Detector, original: Callable[[], Original]) -> None:
        self.detector = detector
        self._original = original

    @functools.cached_property
    def original(self) -> Original:
        return self._original()


class Source(ABC):
    """A model whose config was read.

    Attributes:
        original_kind: what its original is.
    """

    original_kind: OriginalKind

    @property
    @abstractmethod
    def config(self) -> CfgNode:
        """The whole config that Roastery reads, frozen."""

    @property
    @abstractmethod
    def weights(self) -> str:
        """Where the config says that its checkpoint is."""

    @abstractmethod
    def require_convertible(self) -> None:
        """Make sure that the model can be built and has a deployable form, before anything is fetched for it.

        Raises:
            ConfigError, UnsupportedModule: it has none.
        """

    @abstractmethod
    def size_divisibility(self) -> int:
        """What height and width of the net's images are multiples of; 0 where any size will do."""

    @abstractmethod
    def load(self, weights: Path | str, sha256: str | None = None, *, decode: bool = False) -> Loaded:
        """The model with a checkpoint's weights.

        Args:
            sha256: the digest that the file must have.
            decode: whether a RetinaNet gives detections instead of the original's raw maps.

        Raises:
            ConfigError, UnsupportedModule, CheckpointError: see `require_convertible` and `load_checkpoint`.
        """


class NativeSource(Source):
    """Our own parts, and those that custom modules registered; the original is our reference of detectron2."""

    original_kind: OriginalKind = "reference"

    def __init__(self, config: CfgNode, extended: bool = False) -> None:
        """Of a config whose parts are all ours, or not."""
        self._config = config
        # A user's part may ask its numbers for their values while it is built, which those of "meta" have none of.
        self._device = "cpu" if extended else "meta"

    @property
    def config(self) -> CfgNode:
        return self._config

    @property
    def weights(self) -> str:
        return str(self._config.MODEL.WEIGHTS)

    def require_convertible(self) -> None:
        self._empty()

    def size_divisibility(self) -> int:
        return self._empty().size_divisibility

    def _empty(self) -> Detector:
        """Without weights, and without their memory where it can do without."""
        with torch.device(self._device):
            return native.build_detector(self._config)

    def load(self, weights: Path | str, sha256: str | None = None, *, decode: bool = False) -> Loaded:
        detector = native.load_detector(self._config, weights, sha256, decode=decode)
        return Loaded(detector, lambda: build_reference(self._config, detector))


class LiveSource(Source):
    """What the installed detectron2 builds, with its modules in our slots; the original is the live model itself."""

    original_kind: OriginalKind = "detectron2"

    def __init__(self, live: LiveConfig) -> None:
        self._live = live

    @functools.cached_property
    def _model(self) -> nn.Module:
        return self._live.build()

    @functools.cached_property
    def _detector(self) -> Detector:
        return detector_of(self._model)

    @functools.cached_property
    def config(self) -> CfgNode:
        return roastery_config(self._live.own, self._model, self._detector)

    @property
    def weights(self) -> str:
        return self._live.weights

    def require_convertible(self) -> None:
        _ = self._detector

    def size_divisibility(self) -> int:
        return self._detector.size_divisibility

    def load(self, weights: Path | str, sha256: str | None = None, *, decode: bool = False) -> Loaded:
        load_weights(self._model, Path(weights), sha256)
        return Loaded(detector_of(self._model, decode), lambda: LiveOriginal(self._model))


def open_source(said: ModelSource) -> Source:
    """The model that a spec describes, its config read; custom modules are imported.

    Raises:
        ConfigError: a config or a custom module that is not there or cannot be read.
        Detectron2Unavailable: a live model is asked for where there is no detectron2.
    """
    hooks = import_extensions(said.custom_modules, Path(said.modules_from) if said.modules_from else None)
    if said.kind == "detectron2":
        new_keys = bool(said.custom_modules)
        return LiveSource(read_live_config(Path(said.config), said.overrides, hooks, new_keys=new_keys))
    config = load_config(said.config, said.overrides, hooks=hooks)
    return NativeSource(config, extended=bool(said.custom_modules))
