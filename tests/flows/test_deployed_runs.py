"""A fleet's runs on workers, asked for at Prefect's server: in parts that it answers, however many there are."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from prefect.client.schemas.objects import FlowRun
from prefect.settings import PREFECT_API_DEFAULT_LIMIT
from prefect.states import Failed, Running

from flows import deployed_runs
from flows.deployed_runs import DeployedRuns
from roastery.spec import PipelineConfig


class Server:
    """Prefect's API, as far as it is asked here: of more runs than its limit it refuses to tell."""

    def __init__(self) -> None:
        self.runs: dict[UUID, FlowRun] = {}
        self.asked: list[int] = []

    def create(self, name: str, **_: Any) -> FlowRun:
        run = FlowRun(id=uuid4(), flow_id=uuid4(), state=Running(), start_time=datetime.now(UTC))
        self.runs[run.id] = run
        return run

    def read_flow_runs(self, *, flow_run_filter: Any, limit: int) -> list[FlowRun]:
        assert limit <= PREFECT_API_DEFAULT_LIMIT.value()
        self.asked.append(len(flow_run_filter.id.any_))
        return [self.runs[run] for run in flow_run_filter.id.any_][:limit]

    def set_flow_run_state(self, run: UUID, state: Any) -> None:
        self.runs[run].state = state


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    made = Server()

    @contextmanager
    def client(sync_client: bool) -> Iterator[Server]:
        yield made

    monkeypatch.setattr(deployed_runs, "get_client", client)
    monkeypatch.setattr(deployed_runs, "run_deployment", made.create)
    return made


def pipeline(tmp_path: Path, **keys: Any) -> PipelineConfig:
    return PipelineConfig(store=str(tmp_path / "store"), **keys)


def test_as_many_wait_or_run_at_a_time_as_the_pipeline_says(server: Server, tmp_path: Path) -> None:
    assert DeployedRuns("flow/deployment", {}, pipeline(tmp_path)).at_once == 100
    assert DeployedRuns("flow/deployment", {}, pipeline(tmp_path, runs_at_once=1000)).at_once == 1000


def test_of_more_runs_than_the_server_tells_at_a_time_each_that_ended_is_found(server: Server, tmp_path: Path) -> None:
    with DeployedRuns("flow/deployment", {}, pipeline(tmp_path, runs_at_once=450)) as dispatcher:
        runs = [dispatcher.start(f"model{number}", 1) for number in range(450)]
        for run in (runs[0], runs[-1]):
            server.runs[run].state = Failed(message="it did")
        assert [ended.run for ended in dispatcher.ended()] == [runs[0], runs[-1]]
    assert sorted(server.asked) == [50, 200, 200]


def test_one_of_them_that_takes_too_long_is_stopped(server: Server, tmp_path: Path) -> None:
    with DeployedRuns("flow/deployment", {}, pipeline(tmp_path, timeouts={"model": 60})) as dispatcher:
        run = dispatcher.start("slow", 1)
        server.runs[run].start_time = datetime.now(UTC) - timedelta(seconds=61)
        server.runs[run].estimated_run_time = timedelta(seconds=61)
        (ended,) = dispatcher.ended()
    assert (ended.lost, ended.reason) == ("timed out", "took longer than 60 s, and was stopped")
    assert server.runs[run].state.is_cancelling()
