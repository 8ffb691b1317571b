"""A live model from detectron2's config: YAML, which is read as data, or a LazyConfig, which is run."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn
from yacs.config import CfgNode

from roastery.config import read_layers
from roastery.config_defaults import DEFAULTS
from roastery.errors import ConfigError
from roastery.extensions import Hook
from roastery.sources.live.importing import detectron2
from roastery.sources.live.lazy import is_lazy, own_keys, run_lazy, weights_of


class LiveConfig:
    """A config of detectron2's, and the model that it builds.

    Attributes:
        own: what it says, under detectron2's keys.
        weights: where it says that the checkpoint is; "" where it does not.
    """

    def __init__(self, own: CfgNode | dict[str, Any], weights: str, build: Callable[[], nn.Module]) -> None:
        self.own = own
        self.weights = weights
        self._build = build

    def build(self) -> nn.Module:
        """The model on the CPU, in eval mode, with random weights and without gradients.

        Raises:
            ConfigError: it names a part that nobody registered, or detectron2 asserts that it is another.
        """
        try:
            model = self._build()
        except KeyError as error:
            # Of fvcore's registry.
            text = str(error.args[0]) if error.args else ""
            if "registry" not in text:
                raise
            raise ConfigError(
                f"detectron2: {text.strip()} Name the module that registers it in custom_modules (--custom-module)"
            ) from None
        except AssertionError as error:
            # What its builders think of a config.
            raise ConfigError(
                f"detectron2 does not build it: {error or 'an assertion failed'}; mend the config"
            ) from error
        return model.to("cpu").eval().requires_grad_(False)


def read_live_config(
    file: Path, overrides: Sequence[str], hooks: Sequence[Hook] = (), *, new_keys: bool = False
) -> LiveConfig:
    """Read a config with the installed detectron2.

    Args:
        overrides: KEY VALUE KEY VALUE ...
        hooks: functions of custom modules that add their keys.
        new_keys: whether the file may have keys that neither detectron2 nor a hook has.

    Raises:
        ConfigError: a config that cannot be read, or an override that fits no key.
        Detectron2Unavailable: there is none.
    """
    if is_lazy(file):
        config = run_lazy(file, overrides)
        instantiate = detectron2("config").instantiate
        return LiveConfig(own_keys(config), weights_of(config), lambda: instantiate(config.model))
    cfg = detectron2("config").get_cfg()
    # The original's add_export_config: its configs have the key, and detectron2's head has not.
    cfg.EXPORT_CAFFE2 = type(cfg)({"USE_HEATMAP_MAX_KEYPOINT": False})
    for hook in hooks:
        hook(cfg)
    cfg.set_new_allowed(new_keys)
    try:
        for _, layer in read_layers(file):
            cfg.merge_from_other_cfg(type(cfg)(known_to(cfg, layer, DEFAULTS)))
        cfg.set_new_allowed(False)
        cfg.merge_from_list(list(overrides))
    except (KeyError, ValueError, AssertionError) as error:
        reason = str(error.args[0]) if error.args else type(error).__name__
        raise ConfigError(f"{file}: detectron2 does not take it: {' '.join(reason.split())[:300]}") from None
    own, weights = cfg.clone(), str(cfg.MODEL.WEIGHTS)
    cfg.MODEL.DEVICE = "cpu"
    return LiveConfig(own, weights, lambda: detectron2("modeling").build_model(cfg))


def known_to(cfg: Mapping[str, Any], layer: Mapping[str, Any], usual: Mapping[str, Any]) -> dict[str, Any]:
    """A layer without keys of another version of detectron2 that say what is usual: a dumped config has them all."""
    kept: dict[str, Any] = {}
    for key, value in layer.items():
        if isinstance(value, Mapping):
            inner = known_to(_section(cfg, key), value, _section(usual, key))
            if inner or key in cfg:
                kept[key] = inner
        elif key in cfg or key not in usual or _plain(value) != _plain(usual[key]):
            kept[key] = value
    return kept


def _section(tree: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = tree.get(key)
    return found if isinstance(found, Mapping) else {}


def _plain(value: Any) -> Any:
    """A value for comparison: whether it is a list or a tuple says nothing."""
    return [_plain(entry) for entry in value] if isinstance(value, list | tuple) else value
