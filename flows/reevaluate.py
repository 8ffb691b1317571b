"""The flows that measure converted models again: what was exact in the spring may not be on today's packages or images.

What is measured is what the registry holds, and the detections are made anew, never taken from the store. The verdict
is filed with the version. One that does not pass any more loses the gate's aliases, and an event says so.
"""

import time
from typing import Any

import prefect.runtime
from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from flows.asked import AS_REGISTERED, ApPoints, Folder, ModelName, RuntimesChoice, asked_project, run_name
from flows.convert_model import Road, chosen_roads, fetch_first
from flows.fleet import Where, Words, dispatching, run_fleet
from flows.fleet_ties import tell_fleet
from flows.judged import judged
from flows.reevaluation_shown import show_reevaluation, tell_reevaluation
from flows.shown import showing_progress
from flows.stage_runs import StageRuns, failure_in
from roastery.errors import ConfigError
from roastery.outcome import summary_of
from roastery.project import Project
from roastery.registry.catalog import Catalog
from roastery.registry.filed import NoVersion
from roastery.results import Ending, FleetSummary, ModelSummary, TargetSummary
from roastery.selection import Selection, select
from roastery.spec import ModelSpec
from roastery.stages.resolve import ResolveRequest
from roastery.targets import target_of
from tasks.file_reevaluation import FileReevaluationRequest, file_reevaluation
from tasks.performer import own_worker
from tasks.recall import RecallRequest, recall
from tasks.resolve import resolve
from tasks.used import noting_uses

MODEL_DEPLOYMENT = "reevaluate_model/reevaluate-model"
FLEET = "reevaluated-fleet"


@flow(
    name="reevaluate_model",
    flow_run_name=run_name("{model} again"),
    persist_result=True,
    result_serializer="json",
    validate_parameters=True,
)
def reevaluate_model(
    model: ModelName,
    runtimes: RuntimesChoice = AS_REGISTERED,
    max_ap_delta: ApPoints | None = None,
    configs: Folder = "",
) -> State[Any]:
    """Measure the newest converted version of a model again, of each of its targets, beside its original.

    What is measured is what the registry holds; images and packages are today's. Called from Python with
    `return_state=True`, the state's data is a ModelSummary. The state is failed where that failed, or the gate did.

    Args:
        model: A registered model's name: that of a YAML in `<configs>/models`.
        runtimes: Which runtimes judge the Caffe2 model. `auto`: genuine Caffe2 too, where it is installed.
        max_ap_delta: How many AP points (0..100) the converted model may differ by. Empty: as its gate says.
        configs: The folder of models/, datasets/ and pipeline.yaml, on the machine that runs this. Empty: what
            ROASTERY_CONFIGS says there, else configs.
    """
    started = time.perf_counter()
    project = asked_project(configs, runtimes, max_ap_delta)
    runs = StageRuns(model, project.pipeline)
    measured: list[TargetSummary] = []
    failure = None
    try:
        with noting_uses(model, project.pipeline.store):
            _measure(project.model(model), project, runs, measured)
    # The boundary of one model: whatever it was, it is this model's failure, told with its stage.
    except Exception as error:  # noqa: BLE001
        failure = failure_in(runs, error)
    ended: Ending = "passed" if all(each.passed for each in measured) else "failed its gate"
    summary = ModelSummary(
        model=model,
        ended="failed" if failure is not None else ended,
        targets=tuple(measured),
        failure=failure,
        seconds=time.perf_counter() - started,
    )
    show_reevaluation(summary)
    tell_fleet(summary, project.pipeline.store)
    if summary.failure is not None:
        return Failed(message=f"{summary.failure.stage}: {summary.failure.reason}", data=summary)
    if not summary.passed:
        return Failed(message=f"the gate failed: {'; '.join(summary.reasons)}", data=summary)
    return Completed(message="as good as when it was filed", data=summary)


def _measure(model: ModelSpec, project: Project, runs: StageRuns, measured: list[TargetSummary]) -> None:
    """Measure what the registry holds of each target, and add it to what is measured."""
    pipeline = project.pipeline
    roads = chosen_roads(model, pipeline)
    steps = [
        step
        for road in roads
        for step in ("resolve", *(f"predict {finder}" for finder in ("original", *road.runtimes)), "evaluate", "log")
    ]
    missing: list[NoVersion] = []
    with showing_progress(model.name, steps, "again"), own_worker(model.name):
        for road in roads:
            found = _measured(model, project, runs, road)
            if isinstance(found, NoVersion):
                missing.append(found)
            else:
                measured.append(found)
    if missing and not measured:
        raise missing[0]


def _measured(model: ModelSpec, project: Project, runs: StageRuns, road: Road) -> TargetSummary | NoVersion:
    pipeline = project.pipeline
    dataset = project.dataset_of(model)
    registry = {"tracking_uri": pipeline.tracking_uri, "experiment": pipeline.experiment}
    recalled = runs.call(recall, RecallRequest(model=model.name, target=road.target.name, **registry))
    if isinstance(recalled, NoVersion):
        return recalled
    fetch_first(model, runs)
    pinned = runs.run(resolve, ResolveRequest(model=model.name, spec=model, dataset=dataset))
    if pinned.facts.source_sha256 != recalled.conversion.resolved.source_sha256:
        raise ConfigError(
            f"the weights of model {model.name!r} are not those that version {recalled.version} was made of; "
            "convert it again"
        )
    evaluated = judged(
        model,
        dataset,
        pipeline,
        runs,
        pinned,
        recalled.net,
        recalled.conversion.evaluation.parity,
        road.target,
        road.runtimes,
        occasion=str(prefect.runtime.flow_run.id),
    )
    evaluation = evaluated.facts.evaluation
    filed = runs.call(
        file_reevaluation,
        FileReevaluationRequest(
            model=model.name,
            name=road.target.registered(model.name),
            version=recalled.version,
            evaluation=evaluation,
            evaluated=evaluated.artifact.key,
            **registry,
        ),
    )
    summary = summary_of(road.target.name, evaluation, filed.registered, artifacts=recalled.net.uri)
    tell_reevaluation(model.name, summary, filed)
    return summary


@flow(
    name="reevaluate_fleet",
    flow_run_name="converted models again",
    persist_result=True,
    result_serializer="json",
    validate_parameters=True,
)
def reevaluate_fleet(
    models: Words = [],  # noqa: B006  (a form's default is a value)
    tags: Words = [],  # noqa: B006
    runtimes: RuntimesChoice = AS_REGISTERED,
    max_ap_delta: ApPoints | None = None,
    where: Where = "auto",
    configs: Folder = "",
) -> State[Any]:
    """Measure the newest converted versions of many models again, and show one table of how they ended.

    Models that have no converted version are left out. Called from Python with `return_state=True`, the state's data is
    a FleetSummary.

    Args:
        models: Names of registered models, or globs such as mask_*. None: all.
        tags: Models that carry all of these tags.
        runtimes: Which runtimes judge the Caffe2 models. `auto`: genuine Caffe2 too, where it is installed.
        max_ap_delta: How many AP points (0..100) a converted model may differ by. Empty: as its gate says.
        where: By the workers of the deployment reevaluate_model/reevaluate-model, or by processes of this machine.
            `auto`: by workers where there are any.
        configs: The folder of models/, datasets/ and pipeline.yaml, on the machines that run this. Empty: what
            ROASTERY_CONFIGS says there, else configs.
    """
    project = asked_project(configs, runtimes, max_ap_delta)
    catalog = Catalog(project.pipeline.tracking_uri, project.pipeline.experiment)
    converted = catalog.converted()
    named = select(project.models, Selection(names=tuple(models), tags=tuple(tags)), lambda: converted)
    usual = project.pipeline.targets
    chosen = {
        name: model
        for name, model in named.items()
        if any(target_of(target).registered(model.name) in converted for target in model.targets or usual)
    }
    if not chosen:
        return Completed(message="no converted model to measure", data=FleetSummary(models=()))
    parameters = {"runtimes": runtimes, "max_ap_delta": max_ap_delta, "configs": configs}
    return run_fleet(
        chosen,
        lambda: dispatching(reevaluate_model, MODEL_DEPLOYMENT, where, project, parameters),
        lambda model: None,
        shown=FLEET,
    )
