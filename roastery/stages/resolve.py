"""Resolve: pin what a registered model is now: its whole config, and the digests of its checkpoint and its images."""

import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from roastery.config import dump_config, family, known_keys, load_config, measures, read_layers
from roastery.digest import JSON, canonical_json, known_file_sha256
from roastery.errors import CheckpointError, ConfigError
from roastery.extensions import extensions_sha256, sources_sha256
from roastery.results import ArtifactRef, Measures, ModelSource, PinnedDataset, ResolvedModel, StageResult, StageTiming
from roastery.spec import DatasetSpec, ModelSpec
from roastery.stages.dataset import pin_dataset
from roastery.stages.stage import Facts, Request, Stage
from roastery.store import Store
from roastery.weights.fetch import fetched_before

if TYPE_CHECKING:
    from yacs.config import CfgNode

CONFIG_FILE = "config.yaml"


class ResolveRequest(Request):
    """Pin this model and the dataset that it is evaluated on."""

    stage = "resolve"
    packages = ()

    spec: ModelSpec
    dataset: DatasetSpec

    def inputs(self) -> Mapping[str, JSON]:
        # The key is asked for at every run, and needs digests alone.
        dataset = pin_dataset(self.dataset, decode=False)
        return {
            "config": pinned_text(self.spec),
            "source_sha256": weights_sha256(self.spec),
            "dataset": [dataset.name, dataset.sha256, dataset.images, dataset.sample_sha256],
        }


class ResolveFacts(Facts):
    """What was pinned, and what is measured of such a model."""

    meta_architecture: str
    config_sha256: str
    source_sha256: str
    weights_bytes: int
    measures: Measures
    dataset: PinnedDataset


class ResolveResult(StageResult):
    """A pinned model."""

    facts: ResolveFacts

    def model(self, spec: ModelSpec) -> ResolvedModel:
        """The model under its registered name."""
        return ResolvedModel(
            name=spec.name,
            meta_architecture=self.facts.meta_architecture,
            artifact=self.artifact,
            config_sha256=self.facts.config_sha256,
            weights=spec.weights,
            source_sha256=self.facts.source_sha256,
            weights_bytes=self.facts.weights_bytes,
            source=model_source(spec) if spec.has_code else None,
        )


def run(request: ResolveRequest, store: Store, directory: Path) -> ResolveFacts:
    """Write `config.yaml`.

    Raises:
        ConfigError, CheckpointError, DatasetError: what is not there, not readable or not what the spec says.
    """
    config = _whole_config(request.spec)
    (directory / CONFIG_FILE).write_text(dump_config(config), encoding="utf-8")
    return ResolveFacts(
        meta_architecture=family(config),
        config_sha256=config_sha256(request.spec),
        source_sha256=weights_sha256(request.spec),
        weights_bytes=checkpoint(request.spec).stat().st_size,
        measures=measures(config),
        dataset=pin_dataset(request.dataset, decode=True),
    )


def pinned_config(spec: ModelSpec) -> "CfgNode":
    """The model's whole config, without the places where its author kept things: they make no other model.

    Raises:
        ConfigError: see `roastery.config.load_config`.
    """
    if spec.config is None:
        raise ValueError(f"{spec.weights}: a registered source is taken out of the registry before it is read")
    return load_config(spec.config, [*spec.overrides, "MODEL.WEIGHTS", "", "OUTPUT_DIR", ""])


def _whole_config(spec: ModelSpec) -> "CfgNode":
    """The config that later stages read. Of a model with code it has detectron2's keys alone, and takes building it."""
    if not spec.has_code:
        return pinned_config(spec)
    from yacs.config import CfgNode

    from roastery.sources.source import open_source

    whole = open_source(model_source(spec)).config
    config = CfgNode(known_keys(whole))
    config.MODEL.META_ARCHITECTURE = family(whole)
    config.MODEL.WEIGHTS = config.OUTPUT_DIR = ""
    config.freeze()
    return config


def model_source(spec: ModelSpec) -> ModelSource:
    """How the model of a spec is built."""
    return ModelSource(
        kind=spec.source,
        config=str(spec.config),
        overrides=spec.overrides,
        custom_modules=spec.custom_modules,
        modules_from=str(spec.modules_from) if spec.modules_from else None,
    )


def pinned_text(spec: ModelSpec) -> str:
    """Everything that says which model it is but for its weights. None of its code is run.

    Raises:
        ConfigError: as `pinned_config`; or a custom module that is not there.
        Detectron2Unavailable: a live model is asked for where there is no detectron2.
    """
    if not spec.has_code:
        return dump_config(pinned_config(spec))
    assert spec.config is not None
    said: dict[str, JSON] = {
        "source": spec.source,
        "overrides": list(spec.overrides),
        "custom_modules": list(spec.custom_modules),
        "code": extensions_sha256(spec.custom_modules, spec.modules_from),
    }
    if spec.config.suffix == ".py":
        from roastery.sources.live.lazy import lazy_sha256

        said["config"] = lazy_sha256(spec.config)
    else:
        layers = [_without_places(layer) for _, layer in read_layers(spec.config)]
        said["config"] = hashlib.sha256(repr(layers).encode()).hexdigest()
    if spec.source == "detectron2":
        said["detectron2"] = _detectron2_sha256()
    return canonical_json(said)


@cache
def _detectron2_sha256() -> str:
    """Of the installed detectron2's sources: its head calls itself as its last release. Once for all models."""
    from roastery.sources.live.importing import detectron2_folder

    return sources_sha256(detectron2_folder())


def _without_places(layer: dict[str, Any]) -> dict[str, Any]:
    model = layer.get("MODEL")
    kept = {key: value for key, value in layer.items() if key != "OUTPUT_DIR"}
    if isinstance(model, dict):
        kept["MODEL"] = {key: value for key, value in model.items() if key != "WEIGHTS"}
    return kept


def config_sha256(spec: ModelSpec) -> str:
    """The digest of the model's whole config, as `config.yaml` holds it; of a model with code, of `pinned_text`.

    Raises:
        ConfigError: as `pinned_config`; or not the digest that the spec says.
    """
    sha256 = hashlib.sha256(pinned_text(spec).encode()).hexdigest()
    if spec.config_sha256 not in (None, sha256):
        raise ConfigError(
            f"{spec.config}: its sha256, whole, is {sha256}, not {spec.config_sha256} as model {spec.name!r} says; "
            "use the right config or mend `config_sha256`"
        )
    return sha256


def checkpoint(spec: ModelSpec) -> Path:
    """The checkpoint's file: of an address, what was fetched from there. Nobody is asked for it here.

    Raises:
        CheckpointError: no such file.
    """
    path = fetched_before(spec.weights)
    if path is None:
        raise CheckpointError(f"{spec.weights}: was not fetched yet; run model {spec.name!r}, which fetches it")
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint; mend `weights` of model {spec.name!r}")
    return path


def weights_sha256(spec: ModelSpec) -> str:
    """The checkpoint's digest.

    Raises:
        CheckpointError: as `checkpoint`; or not the digest that the spec says.
    """
    path = checkpoint(spec)
    sha256 = known_file_sha256(path)
    if spec.weights_sha256 not in (None, sha256):
        raise CheckpointError(
            f"{path}: its sha256 is {sha256}, not {spec.weights_sha256} as model {spec.name!r} says; "
            "fetch the right checkpoint or mend `weights_sha256`"
        )
    return sha256


def _result(artifact: ArtifactRef, timing: StageTiming, facts: ResolveFacts) -> ResolveResult:
    return ResolveResult(artifact=artifact, timing=timing, facts=facts)


STAGE = Stage(ResolveRequest, ResolveFacts, _result, run)
