"""The original and the converted model on the same images, in the same run: detections, AP, the gate's verdict."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from yacs.config import CfgNode

from roastery.config import measures
from roastery.data.coco import CocoDataset, ImageRecord
from roastery.errors import DatasetError
from roastery.evaluation.coco import CocoFigures, CurvesByTarget, measure_coco
from roastery.evaluation.gate import GatePolicy, judge
from roastery.evaluation.latency import summarise
from roastery.evaluation.panoptic import measure_labels, measure_panoptic
from roastery.evaluation.predict import Model, detect
from roastery.evaluation.proposals import measure_proposals
from roastery.results import Evaluation, Finder, Measures, Metrics, OriginalKind, ParitySummary, VerdictSummary

SEGMENT_TYPES = ("panoptic_seg", "sem_seg")
"""What is measured of segments, not of instances."""
PROPOSALS = "box_proposals"
"""What is measured of an RPN alone."""


@dataclass(frozen=True)
class Found:
    """What a target gave on a dataset.

    Attributes:
        detections: COCO results.
        milliseconds: of each image that did not fail.
        failures: a sentence for each image that failed.
        images: how many images it was asked for.
        segments: what a panoptic model gave beside, as `segment_rows` makes it.
    """

    detections: Sequence[dict[str, Any]]
    milliseconds: Sequence[float]
    failures: Sequence[str]
    images: int
    segments: Sequence[dict[str, Any]] = ()


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
    models: Mapping[Finder, Model],
    parity: Sequence[ParitySummary],
    policy: GatePolicy,
    on_image: Callable[[ImageRecord], None] | None = None,
    batch: int = 1,
    original_kind: OriginalKind = "reference",
) -> Evaluation:
    """Run models over all images of a dataset and judge the converted ones by the original.

    Args:
        name: what the model is called.
        models: "original" and the converted model in one runtime or two.
        parity: one for each of those runtimes.
        on_image: called after each image of each model, for progress.
        batch: how many images the converted model takes at once.
        original_kind: what the original is.

    Raises:
        DatasetError: the dataset is not what the model was trained for.
        UserError: what stops every image, such as a runtime that is not installed.
    """
    ids = [record.id for record in dataset.images]

    def found() -> Iterator[tuple[Finder, Found]]:
        for target, model in models.items():
            together = 1 if target == "original" else batch
            detected = detect(model, dataset, ids, config, dataset.category_ids, on_image, together)
            failures = [f"{failure.file}: {failure.reason}" for failure in detected.failures]
            yield target, Found(detected.detections, detected.milliseconds, failures, len(ids), detected.segments)
            del detected

    return judge_side_by_side(name, dataset, measures(config), found(), parity, policy, original_kind).evaluation


def judge_side_by_side(
    name: str,
    dataset: CocoDataset,
    measured: Measures,
    found: Iterable[tuple[Finder, Found]],
    parity: Sequence[ParitySummary],
    policy: GatePolicy,
    original_kind: OriginalKind = "reference",
) -> Judged:
    """Measure what every target found, and judge the converted model by the original.

    Args:
        measured: as `roastery.config.measures` gives it.
        found: of "original" and of each runtime. Detections of one target are in memory at a time, where they come so.

    Raises:
        DatasetError: detections that do not fit the dataset.
    """
    images = len(dataset.images)
    figures: dict[Finder, CocoFigures] = {}
    done: dict[Finder, Found] = {}
    for target, each in found:
        figures[target] = measure_found(dataset, each.detections, each.segments, measured)
        done[target] = replace(each, detections=(), segments=())
        del each  # The next target's come before the loop would let go of it.
    metrics = {target: _metrics(each.metrics) for target, each in figures.items()}
    failures = {target: [f"{target}: {failure}" for failure in each.failures] for target, each in done.items()}
    parities = {summary.runtime: summary for summary in parity}
    verdicts: dict[Finder, VerdictSummary] = {}
    for target in (target for target in done if target != "original"):
        # An image that a target was never asked for is as good as one that failed.
        seen = min(images, done["original"].images, done[target].images)
        failed = failures["original"] + failures[target]
        failed += [f"{images - seen} images were not evaluated"] if seen < images else []
        verdict = judge(metrics["original"], metrics[target], parities.get(target), seen, failed, policy)
        deltas = {metric: _number(delta) for metric, delta in verdict.deltas.items()}
        verdicts[target] = VerdictSummary(passed=verdict.passed, reasons=verdict.reasons, deltas=deltas)
    evaluation = Evaluation(
        model=name,
        original_kind=original_kind,
        dataset=dataset.name,
        dataset_sha256=dataset.digest,
        images=images,
        failed_images=tuple(failure for of_target in failures.values() for failure in of_target),
        metrics=metrics,
        latency={target: summarise(each.milliseconds) for target, each in done.items() if each.milliseconds},
        parity=tuple(parity),
        verdicts=verdicts,
        passed=bool(verdicts) and all(verdict.passed for verdict in verdicts.values()),
        # The most genuine runtime comes last.
        judged_by=list(verdicts)[-1] if verdicts else "torch",
    )
    return Judged(evaluation, {target: each.curves for target, each in figures.items()})


def measure_found(
    dataset: CocoDataset,
    detections: Sequence[dict[str, Any]],
    segments: Sequence[dict[str, Any]],
    measured: Measures,
) -> CocoFigures:
    """Every figure of what a model found in all images of a dataset.

    Raises:
        DatasetError: see `measure_coco` and `measure_panoptic`; segments, but no panoptic annotations.
    """
    of_segments = [kind for kind in measured.iou_types if kind in SEGMENT_TYPES]
    of_instances = [kind for kind in measured.iou_types if kind not in (*SEGMENT_TYPES, PROPOSALS)]
    figures = CocoFigures({}, {})
    if of_instances:
        figures = measure_coco(dataset, detections, of_instances, None, measured.oks_sigmas)
    if PROPOSALS in measured.iou_types:
        figures.metrics[PROPOSALS] = measure_proposals(dataset, detections)
    ids = [record.id for record in dataset.images]
    if of_segments == ["sem_seg"] and dataset.sem_seg is not None:
        figures.metrics["sem_seg"] = measure_labels(dataset.sem_seg, segments, ids)
    elif of_segments:
        if dataset.panoptic is None:
            raise DatasetError(
                f"{dataset.name}: has no panoptic annotations, by which a panoptic model is measured; add panoptic, "
                "panoptic_masks and sem_seg to the dataset's YAML"
            )
        of_kinds = measure_panoptic(dataset.panoptic, segments, ids)
        figures.metrics.update({kind: of_kinds[kind] for kind in of_segments})
    return figures


def _metrics(figures: Mapping[str, Mapping[str, float]]) -> Metrics:
    return {iou_type: {name: _number(value) for name, value in values.items()} for iou_type, values in figures.items()}


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
