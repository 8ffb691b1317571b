"""The original and the converted model on the same images, in the same run: detections, AP, the gate's verdict."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from yacs.config import CfgNode

from roastery.data.coco import CocoDataset, ImageRecord
from roastery.evaluation.coco import evaluate_coco
from roastery.evaluation.gate import GatePolicy, judge
from roastery.evaluation.latency import summarise
from roastery.evaluation.predict import Detected, Model, detect
from roastery.results import Evaluation, Metrics, ParitySummary, Target, VerdictSummary


def evaluate_side_by_side(
    name: str,
    dataset: CocoDataset,
    config: CfgNode,
    models: Mapping[Target, Model],
    parity: Sequence[ParitySummary],
    policy: GatePolicy,
    on_image: Callable[[ImageRecord], None] | None = None,
) -> Evaluation:
    """Evaluate models on all images of a dataset and judge the converted ones by the original.

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
    iou_types = ("bbox", "segm") if config.MODEL.MASK_ON else ("bbox",)
    detected: dict[Target, Detected] = {}
    for target, model in models.items():
        detected[target] = detect(model, dataset, ids, config, dataset.category_ids, on_image)
    metrics = {target: _metrics(dataset, found.detections, iou_types) for target, found in detected.items()}
    failures = {
        target: [f"{target}: {failure.file}: {failure.reason}" for failure in found.failures]
        for target, found in detected.items()
    }
    parities = {summary.runtime: summary for summary in parity}
    verdicts = {}
    for target in (target for target in models if target != "original"):
        verdict = judge(
            metrics["original"],
            metrics[target],
            parities.get(target),
            len(ids),
            failures["original"] + failures[target],
            policy,
        )
        deltas = {metric: _number(delta) for metric, delta in verdict.deltas.items()}
        verdicts[target] = VerdictSummary(passed=verdict.passed, reasons=verdict.reasons, deltas=deltas)
    return Evaluation(
        model=name,
        original_kind="reference",
        dataset=dataset.name,
        dataset_sha256=dataset.digest,
        images=len(ids),
        failed_images=tuple(failure for of_target in failures.values() for failure in of_target),
        metrics=metrics,
        latency={target: summarise(found.milliseconds) for target, found in detected.items() if found.milliseconds},
        parity=tuple(parity),
        verdicts=verdicts,
        passed=all(verdict.passed for verdict in verdicts.values()),
        judged_by="caffe2" if "caffe2" in verdicts else "torch",
    )


def _metrics(dataset: CocoDataset, detections: Sequence[dict[str, Any]], iou_types: Sequence[str]) -> Metrics:
    figures = evaluate_coco(dataset, detections, iou_types)
    return {iou_type: {name: _number(value) for name, value in values.items()} for iou_type, values in figures.items()}


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
