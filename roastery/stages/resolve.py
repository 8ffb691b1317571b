"""Resolve: pin what a registered model is now: its whole config, and the digests of its checkpoint and its images."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from roastery.config import dump_config, load_config, measures
from roastery.digest import JSON, known_file_sha256
from roastery.errors import CheckpointError, ConfigError
from roastery.results import ArtifactRef, Measures, PinnedDataset, ResolvedModel, StageResult, StageTiming
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
            "config": dump_config(pinned_config(self.spec)),
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
        )


def run(request: ResolveRequest, store: Store, directory: Path) -> ResolveFacts:
    """Write `config.yaml`.

    Raises:
        ConfigError, CheckpointError, DatasetError: what is not there, not readable or not what the spec says.
    """
    config = pinned_config(request.spec)
    (directory / CONFIG_FILE).write_text(dump_config(config), encoding="utf-8")
    return ResolveFacts(
        meta_architecture=config.MODEL.META_ARCHITECTURE,
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


def config_sha256(spec: ModelSpec) -> str:
    """The digest of the model's whole config, as `config.yaml` holds it.

    Raises:
        ConfigError: as `pinned_config`; or not the digest that the spec says.
    """
    sha256 = hashlib.sha256(dump_config(pinned_config(spec)).encode()).hexdigest()
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
