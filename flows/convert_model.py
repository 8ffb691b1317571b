"""The flow of one model, from its registered spec to its registered conversion: the stages in their order."""

import re
import time
from contextlib import ExitStack
from typing import Any

from prefect import Task, flow, tags
from prefect.artifacts import create_table_artifact
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from flows.progress import Progress, tell
from flows.stage_runs import StageRuns
from roastery.errors import RoasteryError, UserError
from roastery.results import ArtifactRef, Conversion, ModelOutcome, Registered, Target
from roastery.spec import DatasetSpec, ModelSpec, PipelineConfig
from roastery.stages.convert_caffe2 import ConvertCaffe2Request, ConvertCaffe2Result
from roastery.stages.evaluate import EvaluateRequest, EvaluateResult
from roastery.stages.export_onnx import ExportOnnxRequest, ExportOnnxResult
from roastery.stages.genuine import chosen_runtimes
from roastery.stages.predict import PredictRequest, PredictResult
from roastery.stages.process import StageWorker
from roastery.stages.resolve import ResolveRequest, ResolveResult
from roastery.stages.sample import SampleRequest, SampleResult
from roastery.stages.trace import TraceRequest, TraceResult
from roastery.versions import versions
from tasks.convert_caffe2 import convert_caffe2
from tasks.evaluate import evaluate
from tasks.export_onnx import export_onnx
from tasks.log import log
from tasks.performer import has_performer, performing
from tasks.policy import configured
from tasks.predict import predict
from tasks.resolve import resolve
from tasks.sample import sample
from tasks.trace import trace


@flow(
    name="convert_model",
    flow_run_name="convert {model.name}",
    persist_result=True,
    result_serializer="json",
    validate_parameters=True,
)
def convert_model(model: ModelSpec, dataset: DatasetSpec, pipeline: PipelineConfig) -> State[Any]:
    """Convert a registered model, measure it beside its original, and file it.

    Call it with `return_state=True`: the state's data is a ModelOutcome, `state.result(raise_on_failure=False)`. The
    state is failed where the model was not converted or did not pass its gate; a conversion that failed its gate is
    filed all the same, as such.
    """
    started = time.perf_counter()
    with ExitStack() as stack:
        # It goes to every task of this run.
        stack.enter_context(tags(f"model:{model.name}"))
        if not has_performer():
            stack.enter_context(performing(stack.enter_context(StageWorker(model.name))))
        try:
            conversion = convert(model, dataset, pipeline)
            registered = file_conversion(conversion, pipeline)
        except RoasteryError as error:
            outcome = ModelOutcome(
                model=model.name,
                error=" ".join(str(error).split()),
                mistake=isinstance(error, UserError),
                seconds=time.perf_counter() - started,
            )
            return Failed(message=outcome.error, data=outcome)
    seconds = time.perf_counter() - started
    outcome = ModelOutcome(model=model.name, conversion=conversion, registered=registered, seconds=seconds)
    _show(outcome)
    if not outcome.passed:
        return Failed(message=f"the gate failed: {'; '.join(_reasons(conversion))}", data=outcome)
    return Completed(message=f"version {registered.version} of {registered.name}", data=outcome)


def convert(model: ModelSpec, dataset: DatasetSpec, pipeline: PipelineConfig) -> Conversion:
    """The stages up to the verdict, each a task.

    Raises:
        RoasteryError: a stage that failed, after its retries.
    """
    runs = StageRuns(model.name, pipeline)
    runtimes = chosen_runtimes(model.runtimes)
    pinned = runs.run(resolve, ResolveRequest(model=model.name, spec=model, dataset=dataset), ResolveResult)
    resolved, data = pinned.model(model), pinned.facts.dataset
    sampled = runs.run(
        sample,
        SampleRequest(model=model.name, resolved=resolved, dataset=dataset, pinned=data, sample=pipeline.sample),
        SampleResult,
    )
    traced = runs.run(trace, TraceRequest(model=model.name, resolved=resolved, sample=sampled.artifact), TraceResult)
    exported = runs.run(export_onnx, ExportOnnxRequest(model=model.name, program=traced.artifact), ExportOnnxResult)
    converted = runs.run(
        convert_caffe2,
        ConvertCaffe2Request(
            model=model.name,
            onnx=exported.artifact,
            sample=sampled.artifact,
            traced=traced.artifact,
            runtimes=runtimes,
        ),
        ConvertCaffe2Result,
    )
    targets: tuple[Target, ...] = ("original", *runtimes)
    shards: dict[Target, tuple[ArtifactRef, ...]] = {}
    for target in targets:
        requests = [
            PredictRequest(
                model=model.name,
                target=target,
                shard=number,
                shards=pipeline.shards,
                resolved=resolved,
                dataset=dataset,
                pinned=data,
                converted=None if target == "original" else converted.artifact,
            )
            for number in range(1, pipeline.shards + 1)
        ]
        predicted = runs.run_all(predict, requests, PredictResult, f"predict {target}")
        shards[target] = tuple(shard.artifact for shard in predicted)
    evaluated = runs.run(
        evaluate,
        EvaluateRequest(
            model=model.name,
            resolved=resolved,
            dataset=dataset,
            pinned=data,
            iou_types=pinned.facts.iou_types,
            shards=shards,
            converted=converted.artifact,
            operators=converted.facts.operators,
            parity=converted.facts.parity,
            gate=model.gate or pipeline.gate,
            timings=tuple(runs.timings),
            versions=versions(),
        ),
        EvaluateResult,
    )
    return Conversion(
        # It covers the keys of all stages before.
        key=evaluated.artifact.key,
        resolved=resolved,
        evaluation=evaluated.facts.evaluation,
        converted=converted.artifact,
        onnx=exported.artifact,
        program=traced.artifact,
        evaluated=evaluated.artifact,
        timings=tuple(runs.timings),
        versions=versions(),
    )


def file_conversion(conversion: Conversion, pipeline: PipelineConfig) -> Registered:
    """The last stage: the registry."""
    name = conversion.resolved.name
    started = time.perf_counter()
    tell(Progress(name, "log", "begins"))
    task: Task[..., Registered] = configured(log, "log", pipeline)
    registered = task(conversion, pipeline)
    tell(Progress(name, "log", "done", time.perf_counter() - started, not registered.created))
    return registered


def _reasons(conversion: Conversion) -> list[str]:
    evaluation = conversion.evaluation
    return [f"{runtime}: {reason}" for runtime, verdict in evaluation.verdicts.items() for reason in verdict.reasons]


def _show(outcome: ModelOutcome) -> None:
    """The figures as a table in the UI, under a key that stays, so that it shows the model's history."""
    assert outcome.conversion is not None
    evaluation = outcome.conversion.evaluation
    rows = [
        {"target": target, "metric": f"{iou_type}/{name}", "value": value}
        for target, types in evaluation.metrics.items()
        for iou_type, values in types.items()
        for name, value in values.items()
    ]
    slug = re.sub(r"[^a-z0-9]+", "-", outcome.model.lower()).strip("-")
    create_table_artifact(rows, key=f"evaluation-{slug}", description=f"{outcome.model}: {_verdict(outcome)}")


def _verdict(outcome: ModelOutcome) -> str:
    assert outcome.conversion is not None
    evaluation = outcome.conversion.evaluation
    return f"{'passed' if evaluation.passed else 'failed'}, judged by {evaluation.judged_by}"
