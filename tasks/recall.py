"""The task that takes a converted model out of the registry, into the store."""

import shutil
from collections.abc import Mapping

from prefect import task
from pydantic import BaseModel, ConfigDict

from roastery.digest import JSON, json_sha256
from roastery.errors import RegistryDamaged
from roastery.registry.catalog import Catalog
from roastery.registry.filed import NoVersion, fetched
from roastery.results import ArtifactRef, Conversion
from roastery.spec import PipelineConfig
from roastery.stages.stage import Request
from roastery.store import Store
from roastery.targets import TargetName, target_of
from tasks.policy import TASK_OPTIONS, open_store
from tasks.used import note_use


class RecallRequest(Request):
    """Take the newest converted version of this model."""

    stage = "recall"
    packages = ()

    target: TargetName = "caffe2"
    tracking_uri: str
    experiment: str

    def inputs(self) -> Mapping[str, JSON]:
        return {"model": self.model, "target": self.target, "registry": [self.tracking_uri, self.experiment]}


class Recalled(BaseModel):
    """A registered version: what was said when it was filed, and its net as the registry holds it now."""

    model_config = ConfigDict(frozen=True)

    version: int
    conversion: Conversion
    net: ArtifactRef


@task(name="recall", task_run_name="recall {request.model}", **TASK_OPTIONS)
def recall(request: RecallRequest, pipeline: PipelineConfig) -> Recalled | NoVersion:
    """Take a converted model out of the registry; gives what is wrong where it was never converted to that target."""
    try:
        return recall_version(request, open_store(pipeline.store))
    except NoVersion as missing:
        # Of several targets the others are there.
        return missing


def recall_version(request: RecallRequest, store: Store) -> Recalled:
    """The newest version, its files in the store.

    Raises:
        NoVersion: the model has no converted version.
        RegistryDamaged: the registry's files are not those that were filed.
        RegistryRefused, RegistryUnavailable: see `roastery.registry.catalog.Catalog`.
    """
    target = target_of(request.target)
    catalog = Catalog(request.tracking_uri, request.experiment)
    with fetched(catalog, target.registered(request.model)) as filed:
        said = filed.conversion.converted.files
        for name in target.files:
            if filed.digests.get(name) != said.get(name):
                raise RegistryDamaged(
                    f"{request.model}: {name} of version {filed.version} in the registry is not the file that was "
                    "filed; convert the model again"
                )
        key = json_sha256({name: filed.digests[name] for name in target.files})
        note_use("recall", key)
        with store.build("recall", key) as build:
            if build.found is None:
                for name in target.files:
                    shutil.copyfile(filed.folder / name, build.directory / name)
        return Recalled(version=filed.version, conversion=filed.conversion, net=build.ref)
