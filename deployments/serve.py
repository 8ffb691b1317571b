"""Serve the deployments of `prefect.yaml` from this machine, where there are no workers: `python -m deployments.serve`.

It takes the Prefect server that PREFECT_API_URL names, starts each run as a process, and says `serving` when it does.
SIGTERM or SIGINT ends it, and the runs that it started.
"""

import asyncio
import os
import signal
from pathlib import Path
from typing import Annotated, Any

import typer
from prefect import Flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import ConcurrencyLimitConfig
from prefect.flows import load_flow_from_entrypoint
from prefect.runner import Runner
from prefect.schedules import Cron
from prefect.types.entrypoint import EntrypointType

from deployments.definitions import Definitions, Deployment, read_definitions
from deployments.install import make_automations
from flows.asked import CONFIGS_VARIABLE
from flows.local_processes import thread_variables
from roastery.machine import processes_and_threads
from roastery.project import load_project

_STARTED_SECONDS = 0.1


def main(
    configs: Annotated[Path, typer.Option(help="Folder of models/, datasets/ and pipeline.yaml.")] = Path("configs"),
    processes: Annotated[
        int | None, typer.Option(min=1, help="Models at a time.  [default: pipeline.yaml's, else as the cores allow]")
    ] = None,
) -> None:
    """Serve Roastery's deployments from this machine."""
    pipeline = load_project(configs).pipeline
    if processes is not None:
        pipeline = pipeline.model_copy(update={"processes": processes})
    at_once, threads = processes_and_threads(pipeline)
    definitions = read_definitions()
    # What each run finds in its environment.
    os.environ[CONFIGS_VARIABLE] = str(configs.absolute())
    for deployment in definitions.deployments:
        os.environ |= deployment.work_pool.job_variables["env"]
    os.environ |= thread_variables(threads)
    with get_client(sync_client=True) as client:
        make_automations(definitions, client)
    asyncio.run(_serve(definitions, at_once))


async def _serve(definitions: Definitions, models_at_once: int) -> None:
    """Each work pool has a runner of its own: fleets that wait take no place of the models that they wait for."""
    limits = {name: pool.concurrency_limit for name, pool in definitions.work_pools.items()}
    limits["roastery-models"] = models_at_once
    runners = {name: Runner(name=name, limit=limit) for name, limit in limits.items()}
    for deployment in definitions.deployments:
        await _add(runners[deployment.work_pool.name], deployment)
    async with asyncio.TaskGroup() as group:
        for runner in runners.values():
            group.create_task(runner.start())
        while not all(runner.started for runner in runners.values()):
            await asyncio.sleep(_STARTED_SECONDS)

        def stop(*_: Any) -> None:
            for runner in runners.values():
                runner.handle_sigterm()

        # Each runner has set a handler that stops itself alone.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, stop)
        print("serving", flush=True)  # noqa: T201


async def _add(runner: Runner, deployment: Deployment) -> None:
    flow: Flow[..., Any] = load_flow_from_entrypoint(deployment.entrypoint)
    limit = deployment.concurrency_limit
    await runner.aadd_flow(
        flow,
        name=deployment.name,
        schedules=[
            Cron(each.cron, timezone=each.timezone, parameters=each.parameters, slug=each.slug)
            for each in deployment.schedules
        ],
        # A server that was ended leaves schedules paused: what was missed is not made up for in the morning.
        paused=False,
        concurrency_limit=None if limit is None else ConcurrencyLimitConfig.model_validate(limit.model_dump()),
        parameters=deployment.parameters,
        description=deployment.description,
        tags=deployment.tags,
        entrypoint_type=EntrypointType.MODULE_PATH,
    )


if __name__ == "__main__":
    typer.run(main)
