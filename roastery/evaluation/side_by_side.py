"""The original and the converted model on the same images, in the same run: detections, AP, the gate's verdict."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from yacs.config import CfgNode

from roastery.config import iou_types
from roastery.data.coco import CocoDataset, ImageRecord
from roastery.evaluation.coco import CurvesByTarget, measure_coco
from roastery.evaluation.gate import GatePolicy, judge
from roastery.evaluation.latency import summarise
from roastery.evaluation.predict import Model, detect
from roastery.results import Evaluation, Metrics, ParitySummary, Target, VerdictSummary


@dataclass(frozen=True)
class Found:
    """What a target gave on a dataset.

    Attributes:
        detections: COCO results.
        milliseconds: of each image that did not fail.
        failures: a sentence for each image that failed.
        images: how many images it was asked for.
    """

    detections: Sequence[dict[str, Any]]
    milliseconds: Sequence[float]
    failures: Sequence[str]
    images: int


@dataclass(frozen=True)
class Judged:
    """An evaluation, and what is too long for it.

    Attributes:
        curves: precision over recall.
    """

    evaluation: Evaluation
    curves: CurvesByTarget


def evaluate_side_by_side(
    name: str,
    dataset: CocoDataset,
    config: CfgNode,
    models: Mapping[Target, Model],
    parity: Sequence[ParitySummary],
    policy: GatePolicy,
    on_image: Callable[[ImageRecord], None] | None = None,
) -> Evaluation:
    """Run models over all images of a dataset and judge the converted ones by the original.

    Args:
        name: what the model is called.
        models: "original" (our reference of detectron2) and the converted model in one runtime or two.
        parity: one for each of those runtimes.
        on_image: called after each image of each model, for progress.

    Raises:
        DatasetError: the dataset is not what the model was trained for.
        UserError: what stops every image, such as a runtime that is not installed.
    """
    ids = [record.id for record in dataset.images]
    found: dict[Target, Found] = {}
    for target, model in models.items():
        detected = detect(model, dataset, ids, config, dataset.category_ids, on_image)
        failures = [f"{failure.file}: {failure.reason}" for failure in detected.failures]
        found[target] = Found(detected.detections, detected.milliseconds, failures, len(ids))
    return judge_side_by_side(name, dataset, iou_types(config), found, parity, policy).evaluation


def judge_side_by_side(
    name: str,
    dataset: CocoDataset,
    measured_types: Sequence[str],
    found: Mapping[Target, Found],
    parity: Sequence[ParitySummary],
    policy: GatePolicy,
) -> Judged:
    """Measure what every target found, and judge the converted model by the original.

    Args:
        measured_types: COCO's IoU types, as `roastery.config.iou_types` gives them.
        found: of "original" and of each runtime.

    Raises:
        DatasetError: detections that do not fit the dataset.
    """
    images = len(dataset.images)
    figures = {target: measure_coco(dataset, each.detections, measured_types) for target, each in found.items()}
    metrics = {target: _metrics(each.metrics) for target, each in figures.items()}
    failures = {target: [f"{target}: {failure}" for failure in each.failures] for target, each in found.items()}
    parities = {summary.runtime: summary for summary in parity}
    verdicts: dict[Target, VerdictSummary] = {}
    for target in (target for target in found if target != "original"):
        # An image that a target was never asked for is as good as one that failed.
        measured = min(images, found["original"].images, found[target].images)
        failed = failures["original"] + failures[target]
        failed += [f"{images - measured} images were not evaluated"] if measured < images else []
        verdict = judge(metrics["original"], metrics[target], parities.get(target), measured, failed, policy)
        deltas = {metric: _number(delta) for metric, delta in verdict.deltas.items()}
        verdicts[target] = VerdictSummary(passed=verdict.passed, reasons=verdict.reasons, deltas=deltas)
    evaluation = Evaluation(
        model=name,
        original_kind="reference",
        dataset=dataset.name,
        dataset_sha256=dataset.digest,
        images=images,
        failed_images=tuple(failure for of_target in failures.values() for failure in of_target),
        metrics=metrics,
        latency={target: summarise(each.milliseconds) for target, each in found.items() if each.milliseconds},
        parity=tuple(parity),
        verdicts=verdicts,
        passed=bool(verdicts) and all(verdict.passed for verdict in verdicts.values()),
        judged_by="caffe2" if "caffe2" in verdicts else "torch",
    )
    return Judged(evaluation, {target: each.curves for target, each in figures.items()})


def _metrics(figures: Mapping[str, Mapping[str, float]]) -> Metrics:
    return {iou_type: {name: _number(value) for name, value in values.items()} for iou_type, values in figures.items()}


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
