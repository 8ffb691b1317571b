"""The flow of many models: each a run of its own, and one model's failure nobody else's."""

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Annotated, Any, Literal

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import DeploymentStatus, State
from prefect.states import Completed, Failed
from pydantic import Field

from flows.asked import (
    AS_REGISTERED,
    DEFAULT_CONFIGS,
    ApPoints,
    Folder,
    RuntimesChoice,
    SampleImages,
    asked_project,
    run_name,
)
from flows.convert_model import convert_model
from flows.deployed_runs import DeployedRuns, deployment_status
from flows.fan_out import Dispatcher, fan_out
from flows.fleet_shown import show_fleet, showing_fleet
from flows.local_processes import LocalProcesses
from flows.unchanged import unchanged
from roastery.errors import ConfigError
from roastery.project import Project
from roastery.registry.catalog import Catalog
from roastery.results import FleetSummary, ModelSummary
from roastery.selection import Only, Selection, select

MODEL_DEPLOYMENT = "convert_model/convert-model"
"""The deployment whose runs convert a fleet's models."""

Where = Literal["auto", "workers", "this machine"]
Names = list[Annotated[str, Field(min_length=1, max_length=80)]]


@flow(
    name="convert_fleet",
    flow_run_name=run_name("{only} models to Caffe2"),
    persist_result=True,
    result_serializer="json",
    validate_parameters=True,
)
def convert_fleet(
    models: Names = [],  # noqa: B006  (a form's default is a value)
    tags: Names = [],  # noqa: B006
    only: Only = "new or changed",
    runtimes: RuntimesChoice = AS_REGISTERED,
    max_ap_delta: ApPoints | None = None,
    sample_images: SampleImages | None = None,
    where: Where = "auto",
    configs: Folder = DEFAULT_CONFIGS,
) -> State[Any]:
    """Convert many registered models, each by a run of its own, and show one table of how they ended.

    Which models is decided before any is run. One whose conversion is whole and filed already is in the table as
    unchanged, and is not run. One that fails, crashes or takes too long does not touch the others. Called from Python
    with `return_state=True`, the state's data is a FleetSummary; the state is failed, and names them, where models were
    not converted or did not pass their gates.

    Args:
        models: Names of registered models, or globs such as mask_*. None: all.
        tags: Models that carry all of these tags.
        only: `new` have no converted version in the registry; `changed` have one of other weights, config or export.
        runtimes: Which runtimes judge the converted models. `auto`: genuine Caffe2 too, where it is installed.
        max_ap_delta: How many AP points (0..100) a converted model may differ by. Empty: as its gate says.
        sample_images: On how many images the outputs are compared one by one. Empty: as pipeline.yaml says.
        where: By the workers of the deployment convert_model/convert-model, or by processes of this machine. `auto`: by
            workers where there are any.
        configs: The folder of models/, datasets/ and pipeline.yaml, on the machines that run this.
    """
    project = asked_project(configs, runtimes, max_ap_delta, sample_images)
    catalog = Catalog(project.pipeline.tracking_uri, project.pipeline.experiment)
    chosen = select(
        project.models, Selection(names=tuple(models), tags=tuple(tags), only=only), getattr(catalog, "converted", None)
    )
    if not chosen:
        return Completed(message="nothing to convert", data=FleetSummary(models=()))
    names = [model.name for model in chosen]
    ended: dict[int, ModelSummary] = {}
    with showing_fleet(len(names)) as show:
        for place, model in enumerate(chosen):
            known = unchanged(model, project, catalog)
            if known is not None:
                ended[place] = known
                show(known)
        places = [place for place in range(len(names)) if place not in ended]
        if places:
            parameters = {
                "runtimes": runtimes,
                "max_ap_delta": max_ap_delta,
                "sample_images": sample_images,
                "configs": configs,
            }
            waiting = [names[place] for place in places]
            with (
                _dispatcher(where, project, parameters) as dispatcher,
                closing(fan_out(waiting, dispatcher)) as ending,
            ):
                for number, each in ending:
                    ended[places[number]] = each
                    show(each)
    summary = FleetSummary(models=tuple(ended[place] for place in range(len(names))))
    show_fleet(summary)
    if summary.failed:
        return Failed(message=f"failed: {', '.join(summary.failed)}", data=summary)
    return Completed(message=f"{len(summary.models)} converted", data=summary)


@contextmanager
def _dispatcher(where: Where, project: Project, parameters: Mapping[str, Any]) -> Iterator[Dispatcher]:
    status = deployment_status(MODEL_DEPLOYMENT)
    if where == "workers" and status is None:
        raise ConfigError(f"there is no deployment {MODEL_DEPLOYMENT}; deploy it, or convert on this machine")
    if where == "workers" or (where == "auto" and status == DeploymentStatus.READY):
        get_run_logger().info("each model is a run of the deployment %s", MODEL_DEPLOYMENT)
        with DeployedRuns(MODEL_DEPLOYMENT, parameters, project.pipeline) as deployed:
            yield deployed
    else:
        with LocalProcesses(convert_model, project, dict(parameters)) as local:
            get_run_logger().info("each model is a process of this machine, %d at a time", local.at_once)
            yield local
