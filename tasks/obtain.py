"""The task that takes a registered source out of the registry, into the store."""

from collections.abc import Mapping
from pathlib import Path

from prefect import task

from roastery.digest import JSON, json_sha256
from roastery.registry.catalog import Catalog
from roastery.registry.sources import download_source, source_spec
from roastery.results import ArtifactRef
from roastery.spec import ModelSpec, PipelineConfig
from roastery.stages.resolve import CONFIG_FILE
from roastery.stages.stage import Request
from roastery.store import Store
from tasks.policy import TASK_OPTIONS, open_store
from tasks.used import note_use

STAGE = "source"


class ObtainRequest(Request):
    """Take this source out of the registry."""

    # Its timeout is that of all that is taken out of there.
    stage = "recall"
    packages = ()

    spec: ModelSpec
    tracking_uri: str
    experiment: str

    def inputs(self) -> Mapping[str, JSON]:
        return {"source": self.spec.weights, "registry": [self.tracking_uri, self.experiment]}


def obtaining(spec: ModelSpec, pipeline: PipelineConfig) -> ObtainRequest:
    """The request for a registered source."""
    return ObtainRequest(model=spec.name, spec=spec, tracking_uri=pipeline.tracking_uri, experiment=pipeline.experiment)


@task(name="obtain", task_run_name="obtain {request.model}", **TASK_OPTIONS)
def obtain(request: ObtainRequest, pipeline: PipelineConfig) -> ModelSpec:
    """Take config and checkpoint of a registered source out of the registry."""
    return obtained(request, open_store(pipeline.store))


def obtained(request: ObtainRequest, store: Store) -> ModelSpec:
    """The spec with its config and its checkpoint where this machine can read them.

    Raises:
        ConfigError, RegistryDamaged, RegistryRefused, RegistryUnavailable: see `roastery.registry.sources`.
    """
    spec = request.spec
    catalog = Catalog(request.tracking_uri, request.experiment)
    # An alias is what it is now, and the version's number is what is told from here on.
    registered = source_spec(catalog, spec.weights)
    note_use(STAGE, key_of(registered))
    found = known(registered, store)
    if found is None:
        with store.build(STAGE, key_of(registered)) as build:
            if build.found is None:
                download_source(catalog, registered.weights, build.directory)
        found = build.ref
    return local(spec, registered, found, store)


def key_of(registered: ModelSpec) -> str:
    """The key of a source's artifact: its version, and what its checkpoint must be."""
    return json_sha256([registered.weights, registered.weights_sha256])


def known(registered: ModelSpec, store: Store) -> ArtifactRef | None:
    """The source's artifact, where it was taken out of the registry before."""
    return store.find(STAGE, key_of(registered))


def local(spec: ModelSpec, registered: ModelSpec, artifact: ArtifactRef, store: Store) -> ModelSpec:
    """The spec with an artifact's files."""
    folder = store.fetch(artifact)
    (checkpoint,) = (name for name in artifact.files if name != CONFIG_FILE)
    return spec.model_copy(
        update={
            "config": folder / CONFIG_FILE,
            "weights": str(Path(folder) / checkpoint),
            "weights_sha256": spec.weights_sha256 or registered.weights_sha256,
            "config_sha256": spec.config_sha256 or registered.config_sha256,
        }
    )
