"""The stages that measure a net beside its original: shards of detections, and the verdict on all of them."""

from flows.stage_runs import Runs
from roastery.results import ArtifactRef, ParitySummary, Target
from roastery.spec import DatasetSpec, ModelSpec, PipelineConfig
from roastery.stages.evaluate import EvaluateRequest, EvaluateResult
from roastery.stages.genuine import RuntimeName
from roastery.stages.predict import PredictRequest
from roastery.stages.resolve import ResolveResult
from tasks.evaluate import evaluate
from tasks.predict import predict


def judged(
    model: ModelSpec,
    dataset: DatasetSpec,
    pipeline: PipelineConfig,
    runs: Runs,
    pinned: ResolveResult,
    net: ArtifactRef,
    parity: tuple[ParitySummary, ...],
    runtimes: tuple[RuntimeName, ...],
    occasion: str = "",
) -> EvaluateResult:
    """Measure a net and its original on the same images, each target in as many shards as the pipeline says.

    Args:
        net: holds `model.pb` and `model_init.pb`.
        occasion: detections of another occasion do not serve; of none, those of any run do.

    Raises:
        RoasteryError: a stage that failed, after its retries.
    """
    resolved = pinned.model(model)
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
                pinned=pinned.facts.dataset,
                converted=None if target == "original" else net,
                occasion=occasion,
            )
            for number in range(1, pipeline.shards + 1)
        ]
        predicted = runs.run_all(predict, requests, f"predict {target}")
        shards[target] = tuple(shard.artifact for shard in predicted)
    return runs.run(
        evaluate,
        EvaluateRequest(
            model=model.name,
            resolved=resolved,
            dataset=dataset,
            pinned=pinned.facts.dataset,
            measures=pinned.facts.measures,
            shards=shards,
            converted=net,
            parity=parity,
            gate=model.gate or pipeline.gate,
        ),
    )
