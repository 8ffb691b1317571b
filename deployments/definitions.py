"""What `prefect.yaml` says, read and checked: for who serves the deployments, and who makes pools and automations."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from roastery.safe_yaml import read_yaml

FILE = Path(__file__).with_name("prefect.yaml")


class WorkPool(BaseModel):
    """A work pool of processes, and how many runs it takes at a time."""

    model_config = ConfigDict(extra="forbid")

    description: str
    concurrency_limit: int


class Limit(BaseModel):
    """How many runs of a deployment at a time, and what becomes of one more."""

    model_config = ConfigDict(extra="forbid")

    limit: int
    collision_strategy: str


class Schedule(BaseModel):
    """When a deployment is run, with which parameters over its own."""

    model_config = ConfigDict(extra="forbid")

    cron: str
    timezone: str
    slug: str
    parameters: dict[str, Any] = {}


class PoolOfDeployment(BaseModel):
    """Where a deployment's runs are started, and with what in their environment."""

    model_config = ConfigDict(extra="forbid")

    name: str
    job_variables: dict[str, dict[str, str]]


class Deployment(BaseModel):
    """A deployment, as `prefect deploy` reads it."""

    model_config = ConfigDict(extra="forbid")

    name: str
    entrypoint: str
    description: str
    tags: list[str]
    work_pool: PoolOfDeployment
    concurrency_limit: Limit | None = None
    parameters: dict[str, Any] = {}
    schedules: list[Schedule] = []


class Definitions(BaseModel):
    """All that stands in the file, but for what Prefect alone needs."""

    deployments: list[Deployment]
    work_pools: dict[str, WorkPool]
    automations: list[dict[str, Any]]


def read_definitions() -> Definitions:
    """Read `prefect.yaml`."""
    return Definitions.model_validate(read_yaml(FILE))
