"""A stage as a task's body: taken from the store where it has it, else done by the model's own process."""

from typing import TypeVar, cast

from prefect.states import Completed

from roastery.results import StageResult
from roastery.spec import PipelineConfig
from roastery.stages.failure import explained
from roastery.stages.stage import Request, recall
from roastery.stages.worker import load_stage
from tasks.performer import current_performer
from tasks.policy import open_store
from tasks.used import note_use

ResultT = TypeVar("ResultT", bound=StageResult)


def staged(request: Request, result: type[ResultT], pipeline: PipelineConfig) -> ResultT:
    """The stage's result. Where the store has its artifact, whole, nothing is run, and the task ends as "Cached".

    The store is the only memory: Prefect's own cache would answer for artifacts that are gone or damaged.

    Raises:
        What the stage raises, having left `failures/<model>/<stage>/` in the store.
    """
    store = open_store(pipeline.store)
    with explained(store, request):
        key = request.key()
        note_use(request.stage, key)
        found = store.find(request.stage, key)
        if found is None:
            return current_performer().perform(request, result, store, pipeline.timeouts.of(request.stage))
        recalled = recall(load_stage(request.stage), found, store)
    assert isinstance(recalled, result)
    # Prefect shows the name of a state that a task gives. The result is in it.
    return cast(ResultT, Completed(name="Cached", data=recalled))
