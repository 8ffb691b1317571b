"""The flow of one model, from its registered spec to its registered conversion: the stages in their order."""

import time
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
    asked_model,
    asked_project,
    run_name,
)
from flows.fleet_ties import tell_fleet
from flows.judged import judged
from flows.shown import show_failure, show_outcome, showing_progress
from flows.stage_runs import Runs, StageRuns, failure_in
from roastery.errors import ArtifactMissing
from roastery.outcome import gate_reasons, summarised
from roastery.project import Project
from roastery.reference_uri import named
from roastery.results import Conversion, ModelOutcome, Registered
from roastery.settings import told_settings
from roastery.spec import DatasetSpec, ModelSpec, PipelineConfig
from roastery.stages.convert_caffe2 import ConvertCaffe2Request
from roastery.stages.export_onnx import ExportOnnxRequest
from roastery.stages.genuine import chosen_runtimes
from roastery.stages.report import ReportRequest
from roastery.stages.resolve import ResolveRequest
from roastery.stages.sample import SampleRequest
from roastery.stages.trace import TraceRequest
from roastery.versions import versions
from roastery.weights.address import is_address
from tasks.convert_caffe2 import convert_caffe2
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
    flow_run_name=run_name("{model} to Caffe2"),
    persist_result=True,
    result_serializer="json",
    validate_parameters=True,
)
def convert_model(
    model: ModelName,
    runtimes: RuntimesChoice = AS_REGISTERED,
    max_ap_delta: ApPoints | None = None,
    sample_images: SampleImages | None = None,
    configs: Folder = "",
) -> State[Any]:
    """Convert a registered model to Caffe2, measure it beside its original, and file it in the MLflow registry.

    What an earlier run left whole in the store is not done again. Called from Python with `return_state=True`, the
    state's data is a ModelOutcome. The state is failed where the model was not converted or did not pass its gate; a
    conversion that failed its gate is filed all the same, as such.

    Args:
        model: A registered model's name: that of a YAML in `<configs>/models`. Or a source in the MLflow registry:
            models:/NAME/VERSION or models:/NAME@ALIAS.
        runtimes: Which runtimes judge the converted model. `auto`: genuine Caffe2 too, where it is installed.
        max_ap_delta: How many AP points (0..100) the converted model may differ by. Empty: as its gate says.
        sample_images: On how many images its outputs are compared one by one. Empty: as pipeline.yaml says.
        configs: The folder of models/, datasets/ and pipeline.yaml, on the machine that runs this. Empty: what
            ROASTERY_CONFIGS says there, else configs.
    """
    started = time.perf_counter()
    asked, model = model, named(model)
    project = asked_project(configs, runtimes, max_ap_delta, sample_images)
    conversion = registered = failure = None
    runs = StageRuns(model, project.pipeline)
    try:
        spec = asked_model(project, asked, runtimes, max_ap_delta)
        dataset = project.dataset_of(spec)
        with own_worker(model), showing_progress(model), noting_uses(model, project.pipeline.store):
            if spec.is_registered:
                spec = runs.call(obtain, obtaining(spec, project.pipeline))
            fetch_first(spec, runs)
            conversion, registered = convert_and_file(spec, dataset, project.pipeline, runs)
    # The boundary of one model: whatever it was, it is this model's failure, told with its stage.
    except Exception as error:  # noqa: BLE001
        failure = failure_in(runs, error)
    seconds = time.perf_counter() - started
    outcome = ModelOutcome(model=model, conversion=conversion, registered=registered, failure=failure, seconds=seconds)
    return _ended(outcome, project)


def _ended(outcome: ModelOutcome, project: Project) -> State[Any]:
    """Show it, tell a fleet that waits for it, and give the run's state."""
    tell_fleet(summarised(outcome), project.pipeline.store)
    if outcome.conversion is None or outcome.registered is None:
        assert outcome.failure is not None
        show_failure(outcome)
        return Failed(message=f"{outcome.failure.stage}: {outcome.failure.reason}", data=outcome)
    show_outcome(outcome, open_store(project.pipeline.store))
    if not outcome.passed:
        reasons = "; ".join(gate_reasons(outcome.conversion.evaluation))
        return Failed(message=f"the gate failed: {reasons}", data=outcome)
    registered = outcome.registered
    return Completed(message=f"version {registered.version} of {registered.name}", data=outcome)


def fetch_first(model: ModelSpec, runs: Runs) -> None:
    """Have the model's checkpoint on this machine, where it lies at an address, before a stage asks for it.

    Raises:
        RoasteryError: it could not be fetched, after its retries.
    """
    if is_address(model.weights):
        runs.call(fetch_weights, FetchWeightsRequest(model=model.name, spec=model))


@retry(retry=retry_if_exception_type(ArtifactMissing), stop=stop_after_attempt(_ATTEMPTS), reraise=True)
def convert_and_file(
    model: ModelSpec, dataset: DatasetSpec, pipeline: PipelineConfig, runs: Runs
) -> tuple[Conversion, Registered]:
    """Every stage. What an earlier run, or an earlier attempt, left whole in the store is not done again.

    Raises:
        RoasteryError: a stage that failed, after its retries.
    """
    # What was found whole may have been damaged since.
    forget_stores()
    runs.restart()
    conversion = convert(model, dataset, pipeline, runs)
    request = LogRequest(
        model=model.name, conversion=conversion, tracking_uri=pipeline.tracking_uri, experiment=pipeline.experiment
    )
    return conversion, runs.call(log, request)


def convert(model: ModelSpec, dataset: DatasetSpec, pipeline: PipelineConfig, runs: Runs) -> Conversion:
    """The stages up to the verdict, each a task.

    Raises:
        RoasteryError: a stage that failed, after its retries.
    """
    name = model.name
    runtimes = chosen_runtimes(model.runtimes)
    pinned = runs.run(resolve, ResolveRequest(model=name, spec=model, dataset=dataset))
    resolved, data = pinned.model(model), pinned.facts.dataset
    sampled = runs.run(
        sample,
        SampleRequest(
            model=name,
            resolved=resolved,
            dataset=dataset,
            pinned=data,
            sample=pipeline.sample,
            batch=model.export.batch,
        ),
    )
    traced = runs.run(trace, TraceRequest(model=name, resolved=resolved, sample=sampled.artifact, export=model.export))
    exported = runs.run(export_onnx, ExportOnnxRequest(model=name, program=traced.artifact))
    converted = runs.run(
        convert_caffe2,
        ConvertCaffe2Request(
            model=name,
            onnx=exported.artifact,
            sample=sampled.artifact,
            traced=traced.artifact,
            runtimes=runtimes,
        ),
    )
    evaluated = judged(model, dataset, pipeline, runs, pinned, converted.artifact, converted.facts.parity, runtimes)
    reported = runs.run(
        report,
        ReportRequest(
            model=name,
            evaluated=evaluated.artifact,
            resolved=resolved,
            dataset=dataset,
            pinned=data,
            converted=converted.artifact,
            onnx=exported.artifact,
            operators=converted.facts.operators,
            export=model.export,
            gate=model.gate or pipeline.gate,
            timings=tuple(runs.timings),
            versions=versions(),
        ),
    )
    return Conversion(
        # It covers the keys of all stages before. The report only tells of them.
        key=evaluated.artifact.key,
        resolved=resolved,
        evaluation=evaluated.facts.evaluation,
        converted=converted.artifact,
        onnx=exported.artifact,
        program=traced.artifact,
        evaluated=evaluated.artifact,
        report=reported.artifact,
        timings=tuple(runs.timings),
        export=model.export,
        settings=told_settings(model, pipeline),
        versions=versions(),
        artifacts=tuple(runs.artifacts),
    )
