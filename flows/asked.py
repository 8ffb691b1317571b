"""What the forms of the Prefect UI ask, and the project that their answers mean.

Parameters are seen by all who see a run. So they are names, figures and folders, and never a registered model's whole
spec, an address or a secret: each machine reads those from its own configs and environment.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Annotated, Any, Literal

import prefect.runtime
from pydantic import Field

from flows.secrets import load_secrets
from roastery.errors import ConfigError
from roastery.project import Project, load_project
from roastery.reference_uri import REFERENCE, is_reference
from roastery.registry.catalog import Catalog
from roastery.registry.sources import source_spec
from roastery.spec import SAFE_NAME, ModelSpec, Runtimes
from roastery.targets import TargetName

AS_REGISTERED: Literal["as registered"] = "as registered"
CONFIGS_VARIABLE = "ROASTERY_CONFIGS"
DEFAULT_CONFIGS = "configs"

# Prefect's form knows one pattern: a name, or a registered source.
ModelName = Annotated[str, Field(pattern=f"{SAFE_NAME}|^{REFERENCE}$", max_length=200)]
RuntimesChoice = Literal["as registered", "auto", "torch", "caffe2", "both"]
ApPoints = Annotated[float, Field(ge=0, le=100)]
SampleImages = Annotated[int, Field(ge=1, le=1000)]
TargetsChoice = list[TargetName]
Folder = Annotated[str, Field(max_length=4000)]

_project: ContextVar[Project] = ContextVar("project")


@contextmanager
def using(project: Project) -> Iterator[Project]:
    """Let flows that are run in this context have this project, and not look into a folder of configs."""
    token = _project.set(project)
    try:
        yield project
    finally:
        _project.reset(token)


def asked_project(
    configs: str,
    runtimes: RuntimesChoice = AS_REGISTERED,
    max_ap_delta: float | None = None,
    sample_images: int | None = None,
    targets: Sequence[str] = (),
) -> Project:
    """The project, with what was asked for over what is registered.

    Raises:
        ConfigError: what is not in the folder of configs, or not what it should be.
    """
    project = _project.get(None) or load_project(_folder(configs))
    pipeline = project.pipeline
    load_secrets(pipeline)
    if sample_images is not None:
        sample = pipeline.sample.model_copy(update={"n": sample_images})
        pipeline = pipeline.model_copy(update={"sample": sample})
    models = {
        name: _asked(model, project, None if runtimes == AS_REGISTERED else runtimes, max_ap_delta)
        for name, model in project.models.items()
    }
    asked = Project.model_construct(models=models, datasets=project.datasets, pipeline=pipeline)
    return asked.converted_to(targets)


def asked_model(
    project: Project, name: str, runtimes: RuntimesChoice = AS_REGISTERED, max_ap_delta: float | None = None
) -> ModelSpec:
    """A model of the project, or a source in the registry that is named by its reference.

    Raises:
        ConfigError: there is none.
        RegistryDamaged, RegistryRefused, RegistryUnavailable: see `roastery.registry.sources`.
    """
    if name in project.models or not is_reference(name):
        return project.model(name)
    catalog = Catalog(project.pipeline.tracking_uri, project.pipeline.experiment)
    spec = source_spec(catalog, name)
    return _asked(spec, project, None if runtimes == AS_REGISTERED else runtimes, max_ap_delta)


def _folder(configs: str) -> Path:
    said = os.environ.get(CONFIGS_VARIABLE)
    if not configs and said and not Path(said).is_absolute():
        # Prefect's workers start each run in a folder of its own.
        raise ConfigError(f"{CONFIGS_VARIABLE}: {said} is a relative folder; name it from the root")
    return Path(configs or said or DEFAULT_CONFIGS).absolute()


def _asked(model: ModelSpec, project: Project, runtimes: Runtimes | None, max_ap_delta: float | None) -> ModelSpec:
    over: dict[str, Any] = {}
    if runtimes is not None:
        over["runtimes"] = runtimes
    if max_ap_delta is not None:
        asked = {"max_ap_delta": max_ap_delta}
        over["gate"] = (model.gate or project.pipeline.gate).model_copy(update=asked)
        over["int8"] = model.int8.model_copy(update={"gate": model.int8.gate.model_copy(update=asked)})
    return model.model_copy(update=over) if over else model


def run_name(pattern: str) -> Callable[[], str]:
    """A run's name from its parameters; of runtimes that were chosen, those too."""

    def name() -> str:
        parameters: Mapping[str, Any] = prefect.runtime.flow_run.parameters
        runtimes = parameters.get("runtimes", AS_REGISTERED)
        judged = "" if runtimes == AS_REGISTERED else f", judged by {runtimes}"
        return pattern.format(**parameters) + judged

    return name
