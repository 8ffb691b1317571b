"""The process of one model of a fleet: `python -m flows.model_process`.

It answers one frame of `roastery/peer.py` (an Asked, with an Answer, both JSON), and ends.
"""

import importlib
from typing import Any
from uuid import UUID

from pydantic import BaseModel

from roastery.peer_child import serve_once
from roastery.project import Project
from roastery.results import ModelSummary

MODULE = "flows.model_process"
FLOWS = {"convert_model": "flows.convert_model", "reevaluate_model": "flows.reevaluate"}
"""The flows of one model, and where they are."""


class Asked(BaseModel):
    """Which run to do, with what it needs to know."""

    flow: str
    run: UUID
    project: Project
    progress: int
    """A file descriptor: each line that is written there is a Progress as JSON."""


class Answer(BaseModel):
    """How it ended; without a summary, why there is none."""

    summary: ModelSummary | None
    reason: str = ""


def answer(payload: bytes) -> bytes:
    """Do the run that is asked for."""
    from prefect.client.orchestration import get_client
    from prefect.flow_engine import run_flow

    from flows.asked import using
    from flows.fleet_ties import hearing, said_by
    from flows.progress import listening, writing_to

    asked = Asked.model_validate_json(payload)
    flow: Any = getattr(importlib.import_module(FLOWS[asked.flow]), asked.flow)
    with get_client(sync_client=True) as client:
        flow_run = client.read_flow_run(asked.run)
    with using(asked.project), listening(writing_to(asked.progress)), hearing() as told:
        state: Any = run_flow(flow, flow_run=flow_run, return_type="state")
    said = Answer(summary=told[0]) if told else Answer(summary=None, reason=said_by(state))
    return said.model_dump_json().encode()


if __name__ == "__main__":
    serve_once(answer)
