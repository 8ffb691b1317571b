"""A pinned model, opened again where a stage needs it."""

from typing import TYPE_CHECKING

from roastery.results import ModelSource, ResolvedModel
from roastery.stages.resolve import CONFIG_FILE
from roastery.store import Store

if TYPE_CHECKING:
    from yacs.config import CfgNode

    from roastery.sources.source import Source


def open_pinned(resolved: ResolvedModel, store: Store) -> "Source":
    """The model as it was resolved, without its weights.

    Raises:
        ConfigError, Detectron2Unavailable: see `roastery.sources.source.open_source`.
    """
    from roastery.sources.source import open_source

    config_file = store.fetch(resolved.artifact) / CONFIG_FILE
    return open_source(resolved.source or ModelSource(kind="native", config=str(config_file)))


def read_pinned_config(resolved: ResolvedModel, store: Store) -> "CfgNode":
    """The keys that Roastery reads of a pinned model's config; none of its code is run."""
    from roastery.config import load_config

    return load_config(store.fetch(resolved.artifact) / CONFIG_FILE)
