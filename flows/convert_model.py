"""The flow of one model, from its registered spec to its registered conversion: the stages in their order."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed
from tenacity import retry, retry_if_exception_type, stop_after_attempt

from flows.asked import (
    AS_REGISTERED,
    ApPoints,
    Folder,
    ModelName,
    RuntimesChoice,
    SampleImages,
    TargetsChoice,
    asked_model,
    asked_project,
    run_name,
)
from flows.fleet_ties import tell_fleet
from flows.judged import judged
from flows.shown import show_failure, show_outcome, showing_progress
from flows.stage_runs import NOTHING, Runs, Spent, StageRuns, failure_in
from roastery.errors import ArtifactMissing
from roastery.outcome import gate_reasons, summarised
from roastery.project import Project
from roastery.reference_uri import named
from roastery.results import Conversion, Filed, ModelOutcome, StageFailure, StageResult
from roastery.settings import told_settings
from roastery.spec import DatasetSpec, ModelSpec, PipelineConfig
from roastery.stages.convert import ConvertRequest
from roastery.stages.export_onnx import ExportOnnxRequest
from roastery.stages.report import ReportRequest
from roastery.stages.resolve import ResolveRequest, ResolveResult
from roastery.stages.sample import SampleRequest
from roastery.stages.trace import TraceRequest
from roastery.targets import target_of
from roastery.targets.target import Target
from roastery.versions import versions
from roastery.weights.address import is_address
from tasks.convert import convert
from tasks.export_onnx import export_onnx
from tasks.fetch_weights import FetchWeightsRequest, fetch_weights
from tasks.log import LogRequest, log
from tasks.obtain import obtain, obtaining
from tasks.performer import own_worker
from tasks.policy import forget_stores, open_store
from tasks.report import report
from tasks.resolve import resolve
from tasks.sample import sample
from tasks.trace import trace
from tasks.used import noting_uses

_ATTEMPTS = 3
"""How often a model is gone through where an artifact is lost on the way: each time what is lost is built again."""


@flow(
    name="convert_model",
    flow_run_name=run_name("convert {model}"),
    persist_result=True,
    result_serializer="json",
    validate_parameters=True,
)
def convert_model(
    model: ModelName,
    runtimes: RuntimesChoice = AS_REGISTERED,
    max_ap_delta: ApPoints | None = None,
    sample_images: SampleImages | None = None,
    targets: TargetsChoice = [],  # noqa: B006  (a form's default is a value)
    configs: Folder = "",
) -> State[Any]:
    """Convert a registered model to its targets, measure each beside the original, and file it in the MLflow registry.

    What an earlier run left whole in the store is not done again. Called from Python with `return_state=True`, the
    state's data is a ModelOutcome. The state is failed where the model was not converted or did not pass its gate; a
    conversion that failed its gate is filed all the same, as such.

    Args:
        model: A registered model's name: that of a YAML in `<configs>/models`. Or a source in the MLflow registry:
            models:/NAME/VERSION or models:/NAME@ALIAS.
        runtimes: Which runtimes judge the Caffe2 model. `auto`: genuine Caffe2 too, where it is installed.
        max_ap_delta: How many AP points (0..100) the converted model may differ by. Empty: as its gate says.
        sample_images: On how many images its outputs are compared one by one. Empty: as pipeline.yaml says.
        targets: What it is converted to. None: what its own config or pipeline.yaml says.
        configs: The folder of models/, datasets/ and pipeline.yaml, on the machine that runs this. Empty: what
            ROASTERY_CONFIGS says there, else configs.
    """
    started = time.perf_counter()
    asked, model = model, named(model)
    project = asked_project(configs, runtimes, max_ap_delta, sample_images, targets)
    runs = StageRuns(model, project.pipeline)
    filed: list[Filed] = []
    failure = None
    try:
        spec = asked_model(project, asked, runtimes, max_ap_delta)
        dataset = project.dataset_of(spec)
        roads = chosen_roads(spec, project.pipeline)
        with (
            own_worker(model),
            showing_progress(model, steps_of(roads)),
            noting_uses(model, project.pipeline.store),
        ):
            if spec.is_registered:
                spec = runs.call(obtain, obtaining(spec, project.pipeline))
            fetch_first(spec, runs)
            failure = convert_and_file(spec, dataset, project.pipeline, runs, roads, filed)
    # The boundary of one model: whatever it was, it is this model's failure, told with its stage.
    except Exception as error:  # noqa: BLE001
        failure = failure_in(runs, error)
    seconds = time.perf_counter() - started
    return _ended(ModelOutcome(model=model, filed=tuple(filed), failure=failure, seconds=seconds), project)


def _ended(outcome: ModelOutcome, project: Project) -> State[Any]:
    """Show it, tell a fleet that waits for it, and give the run's state."""
    tell_fleet(summarised(outcome), project.pipeline.store)
    if outcome.filed:
        show_outcome(outcome, open_store(project.pipeline.store))
    if outcome.failure is not None:
        show_failure(outcome)
        return Failed(message=f"{outcome.failure.stage}: {outcome.failure.reason}", data=outcome)
    if not outcome.passed:
        reasons = "; ".join(reason for each in outcome.filed for reason in gate_reasons(each.conversion.evaluation))
        return Failed(message=f"the gate failed: {reasons}", data=outcome)
    names = ", ".join(f"version {each.registered.version} of {each.registered.name}" for each in outcome.filed)
    return Completed(message=names, data=outcome)


def fetch_first(model: ModelSpec, runs: Runs) -> None:
    """Have the model's checkpoint on this machine, where it lies at an address, before a stage asks for it.

    Raises:
        RoasteryError: it could not be fetched, after its retries.
    """
    if is_address(model.weights):
        runs.call(fetch_weights, FetchWeightsRequest(model=model.name, spec=model))


@dataclass(frozen=True)
class Road:
    """A target that a model is converted to, and the runtimes that judge it."""

    target: Target
    runtimes: tuple[str, ...]


def chosen_roads(model: ModelSpec, pipeline: PipelineConfig) -> list[Road]:
    """Where a model goes, in the order in which its targets were asked for.

    Raises:
        UserError: what a target needs is not installed.
    """
    targets = [target_of(name) for name in model.targets or pipeline.targets]
    return [Road(target, target.chosen(model)) for target in targets]


def steps_of(roads: Sequence[Road]) -> list[str]:
    """What is done for them, in its order, as progress tells it."""
    steps = ["resolve", "sample", "trace", "export_onnx"]
    for road in roads:
        predicted = [f"predict {finder}" for finder in ("original", *road.runtimes)]
        steps += [f"convert {road.target.name}", *predicted, "evaluate", "report", "log"]
    return steps


def convert_and_file(
    model: ModelSpec,
    dataset: DatasetSpec,
    pipeline: PipelineConfig,
    runs: StageRuns,
    roads: Sequence[Road],
    filed: list[Filed],
) -> StageFailure | None:
    """Every stage, for every target. What an earlier run, or an earlier attempt, left whole in the store is not done
    again. A target that fails keeps no other from being filed; the first failure is given.

    Args:
        filed: what was filed is added here, also where a later target fails.

    Raises:
        RoasteryError: what all targets need failed, after its retries.
    """
    failure: StageFailure | None = None
    shared = _Shared()
    for road in roads:
        ended = _convert_and_file(model, dataset, pipeline, runs, road, shared)
        if isinstance(ended, Filed):
            filed.append(ended)
        else:
            failure = failure or ended
    return failure


@dataclass
class _Shared:
    """What the first target's way left for the others: what was exported, and what it had cost until then."""

    exported: "Exported | None" = None
    spent: Spent = NOTHING


@retry(retry=retry_if_exception_type(ArtifactMissing), stop=stop_after_attempt(_ATTEMPTS), reraise=True)
def _convert_and_file(
    model: ModelSpec, dataset: DatasetSpec, pipeline: PipelineConfig, runs: StageRuns, road: Road, shared: _Shared
) -> Filed | StageFailure:
    """One target's way. What fails on it is given; what fails on the way that all targets share is raised."""
    if shared.exported is None:
        # What was found whole may have been damaged since.
        forget_stores()
        runs.restart()
        shared.exported = export(model, dataset, pipeline, runs)
        shared.spent = runs.spent()
    else:
        runs.restart(shared.spent)
    try:
        conversion = convert_to(road, shared.exported, model, dataset, pipeline, runs)
        request = LogRequest(
            model=model.name, conversion=conversion, tracking_uri=pipeline.tracking_uri, experiment=pipeline.experiment
        )
        return Filed(conversion=conversion, registered=runs.call(log, request))
    except ArtifactMissing:
        shared.exported = None
        raise
    # The boundary of one target: the others go on, and this failure is told after them.
    except Exception as error:  # noqa: BLE001
        return failure_in(runs, error)


@dataclass(frozen=True)
class Exported:
    """The way that all targets share: the inputs pinned, the sample, the trace, and the ONNX made of it."""

    pinned: ResolveResult
    sampled: StageResult
    traced: StageResult
    exported: StageResult


def export(model: ModelSpec, dataset: DatasetSpec, pipeline: PipelineConfig, runs: Runs) -> Exported:
    """The stages up to ONNX, each a task.

    Raises:
        RoasteryError: a stage that failed, after its retries.
    """
    name = model.name
    pinned = runs.run(resolve, ResolveRequest(model=name, spec=model, dataset=dataset))
    resolved = pinned.model(model)
    sampled = runs.run(
        sample,
        SampleRequest(
            model=name,
            resolved=resolved,
            dataset=dataset,
            pinned=pinned.facts.dataset,
            sample=pipeline.sample,
            batch=model.export.batch,
        ),
    )
    traced = runs.run(trace, TraceRequest(model=name, resolved=resolved, sample=sampled.artifact, export=model.export))
    exported = runs.run(export_onnx, ExportOnnxRequest(model=name, program=traced.artifact))
    return Exported(pinned, sampled, traced, exported)


def convert_to(
    road: Road, shared: Exported, model: ModelSpec, dataset: DatasetSpec, pipeline: PipelineConfig, runs: Runs
) -> Conversion:
    """The stages from ONNX to a target's verdict, each a task.

    Raises:
        RoasteryError: a stage that failed, after its retries.
    """
    name, target, pinned = model.name, road.target, shared.pinned
    converted = runs.run(
        convert,
        ConvertRequest(
            model=name,
            target=target.name,
            onnx=shared.exported.artifact,
            sample=shared.sampled.artifact,
            traced=shared.traced.artifact,
            runtimes=road.runtimes,
            settings=target.settings(model),
        ),
    )
    evaluated = judged(
        model, dataset, pipeline, runs, pinned, converted.artifact, converted.facts.parity, target, road.runtimes
    )
    reported = runs.run(
        report,
        ReportRequest(
            model=name,
            evaluated=evaluated.artifact,
            resolved=pinned.model(model),
            dataset=dataset,
            pinned=pinned.facts.dataset,
            target=target.name,
            converted=converted.artifact,
            onnx=shared.exported.artifact,
            operators=converted.facts.operators,
            layers=converted.facts.layers,
            export=model.export,
            gate=target.gate(model, pipeline),
            timings=tuple(runs.timings),
            versions=versions(),
        ),
    )
    return Conversion(
        # It covers the keys of all stages before. The report only tells of them.
        key=evaluated.artifact.key,
        resolved=pinned.model(model),
        evaluation=evaluated.facts.evaluation,
        target=target.name,
        converted=converted.artifact,
        onnx=shared.exported.artifact,
        program=shared.traced.artifact,
        evaluated=evaluated.artifact,
        report=reported.artifact,
        timings=tuple(runs.timings),
        export=model.export,
        settings=told_settings(model, pipeline, target),
        versions=versions(),
        artifacts=tuple(runs.artifacts),
    )
