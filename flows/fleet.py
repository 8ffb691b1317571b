"""What all fleets do: let each of their models have a run of its own, and tell in one table how they ended."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from typing import Annotated, Any, Literal

from prefect import Flow, get_run_logger
from prefect.client.schemas.objects import DeploymentStatus, State
from prefect.states import Completed, Failed
from pydantic import Field

from flows.deployed_runs import DeployedRuns, deployment_status
from flows.fan_out import Dispatcher, fan_out
from flows.fleet_shown import show_fleet, showing_fleet
from flows.local_processes import LocalProcesses
from roastery.errors import ConfigError
from roastery.project import Project
from roastery.results import FleetSummary, ModelSummary
from roastery.spec import ModelSpec

Where = Literal["auto", "workers", "this machine"]
"""By the workers of a deployment, or by processes of this machine; `auto`: by workers where there are any."""

Words = list[Annotated[str, Field(min_length=1, max_length=200)]]


@contextmanager
def dispatching(
    flow: Flow[..., Any], deployment: str, where: Where, project: Project, parameters: Mapping[str, Any]
) -> Iterator[Dispatcher]:
    """Who starts the models' runs.

    Args:
        flow: of one model; its first parameter is the model's name.
        deployment: the flow's own, as "flow/deployment".
        parameters: the flow's other parameters; what is None was left empty, and is not told.

    Raises:
        ConfigError: workers are wanted, and there is no such deployment.
    """
    parameters = {name: value for name, value in parameters.items() if value is not None}
    status = None if where == "this machine" else deployment_status(deployment)
    if where == "workers" and status is None:
        raise ConfigError(f"there is no deployment {deployment}; deploy it, or choose `this machine`")
    if where == "workers" or status == DeploymentStatus.READY:
        get_run_logger().info("each model is a run of the deployment %s", deployment)
        with DeployedRuns(deployment, parameters, project.pipeline) as deployed:
            yield deployed
    else:
        with LocalProcesses(flow, project, parameters) as local:
            get_run_logger().info("each model is a process of this machine, %d at a time", local.at_once)
            yield local


def run_fleet(
    models: Mapping[str, ModelSpec],
    dispatcher: Callable[[], AbstractContextManager[Dispatcher]],
    known: Callable[[ModelSpec], ModelSummary | None],
    shown: str,
) -> State[Any]:
    """Run a fleet; gives its state, whose data is a FleetSummary.

    Args:
        models: by the names that their runs are asked for by.
        dispatcher: makes one, if anything is to be run.
        known: how a model's run would end, where that is known without running it.
        shown: the key of the artifact that has the table.
    """
    ended: dict[int, ModelSummary] = {}
    with showing_fleet(len(models), shown) as show:
        for place, model in enumerate(models.values()):
            summary = known(model)
            if summary is not None:
                ended[place] = summary
                show(summary)
        asked = list(models)
        places = [place for place in range(len(models)) if place not in ended]
        if places:
            names = [asked[place] for place in places]
            with dispatcher() as dispatching, closing(fan_out(names, dispatching)) as ending:
                for number, each in ending:
                    ended[places[number]] = each
                    show(each)
    fleet = FleetSummary(models=tuple(ended[place] for place in range(len(models))))
    show_fleet(fleet, shown)
    if fleet.failed:
        return Failed(message=f"{len(fleet.failed)} of {len(models)} failed: {', '.join(fleet.failed)}", data=fleet)
    return Completed(message=f"{len(models)} passed", data=fleet)
