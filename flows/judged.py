"""The stages that measure a net beside its original: shards of detections, and the verdict on all of them."""

from flows.stage_runs import Runs
from roastery.results import ArtifactRef, Finder, ParitySummary
from roastery.spec import DatasetSpec, ModelSpec, PipelineConfig
from roastery.stages.evaluate import EvaluateRequest, EvaluateResult
from roastery.stages.predict import PredictRequest
from roastery.stages.resolve import ResolveResult
from roastery.targets.target import Target
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
    target: Target,
    runtimes: tuple[str, ...],
    occasion: str = "",
) -> EvaluateResult:
    """Measure a net and its original on the same images, each finder in as many shards as the pipeline says.

    Args:
        net: holds the target's files.
        runtimes: of the target, that judge; the most genuine last.
        occasion: detections of another occasion do not serve; of none, those of any run do.

    Raises:
        RoasteryError: a stage that failed, after its retries.
    """
    resolved = pinned.model(model)
    finders: tuple[Finder, ...] = ("original", *runtimes)
    shards: dict[Finder, tuple[ArtifactRef, ...]] = {}
    for finder in finders:
        requests = [
            PredictRequest(
                model=model.name,
                finder=finder,
                shard=number,
                shards=pipeline.shards,
                resolved=resolved,
                dataset=dataset,
                pinned=pinned.facts.dataset,
                converted=None if finder == "original" else net,
                occasion=occasion,
            )
            for number in range(1, pipeline.shards + 1)
        ]
        predicted = runs.run_all(predict, requests, f"predict {finder}")
        shards[finder] = tuple(shard.artifact for shard in predicted)
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
            gate=target.gate(model, pipeline),
        ),
    )
