"""What of a conversion is put on record, in names and values that MLflow takes. Nothing of MLflow is imported here."""

import hashlib
import math
import posixpath
import re
from collections.abc import Iterable, Mapping
from typing import TypeVar

from roastery.digest import canonical_json
from roastery.evaluation.gate import main_metric
from roastery.results import Conversion, Evaluation, Finder
from roastery.targets import runtimes, suffixes, target_of
from roastery.targets.target import Target

Value = TypeVar("Value")

OF_CLASSES = ("AP-", "IoU-", "ACC-")
"""What the names of figures of single classes begin with."""

KEY_TAG = "roastery.key"
EXPORT_TAG = "export"
REEVALUATED_TAG = "reevaluated"
"""When a version was last evaluated again: a date and time of UTC."""
REEVALUATION_TAG = "reevaluation"
"""What came of it: passed or failed."""
REMEASURED_TAG = "reevaluation_figures"
"""The main figures that it found then, as JSON."""
REEVALUATES_TAG = "roastery.reevaluates"
"""Of a re-evaluation's run: the mark of the registered model's name."""
CANDIDATE = "candidate"
VALIDATED = "validated"

# MLflow's limits on the names of metrics, parameters and tags, and on values (mlflow/utils/validation.py, 3.17).
_ILLEGAL = re.compile(r"[^\w./\- :]")
_LONGEST_NAME = 250
_LONGEST_VALUE = 6000


def registered_name(conversion: Conversion) -> str:
    """The registered model that a conversion becomes a version of."""
    return target_of(conversion.target).registered(conversion.resolved.name)


def split_name(registered: str) -> tuple[str, Target] | None:
    """The model and the target of a converted model's registered name; None of another name."""
    model, dot, rest = registered.rpartition(".")
    target = suffixes().get(dot + rest)
    return (model, target) if model and target is not None else None


def aliases(evaluation: Evaluation) -> tuple[str, ...]:
    """What a version may be called: nothing after a failed gate, `validated` only by the word of the target's most
    genuine runtime, of Caffe2 genuine Caffe2."""
    if not evaluation.passed:
        return ()
    return _earned(evaluation.judged_by)


def aliases_of(tags: Mapping[str, str]) -> tuple[str, ...]:
    """What a version with these tags may be called: as `aliases`, of its last evaluation."""
    if tags.get(REEVALUATION_TAG, tags.get("verdict")) != "passed":
        return ()
    return _earned(tags.get("judged_by", ""))


def _earned(judge: str) -> tuple[str, ...]:
    target = runtimes().get(judge)
    genuine = target is not None and [*target.runtimes][-1] == judge
    return (CANDIDATE, VALIDATED) if genuine else (CANDIDATE,)


def earned_aliases(evaluation: Evaluation, tags: Mapping[str, str]) -> tuple[str, ...]:
    """The same of a filed version with these tags: one that was measured again and failed has none left."""
    return () if tags.get(REEVALUATION_TAG) == "failed" else aliases(evaluation)


def version_tags(conversion: Conversion) -> dict[str, str]:
    """The tags of the registered version: MLflow compares them as strings."""
    resolved, evaluation = conversion.resolved, conversion.evaluation
    tags = {
        KEY_TAG: conversion.key,
        "verdict": "passed" if evaluation.passed else "failed",
        "target": conversion.target,
        "judged_by": evaluation.judged_by,
        "source_sha256": resolved.source_sha256,
        "config_sha256": resolved.config_sha256,
        "family": resolved.meta_architecture,
        "roastery_version": conversion.versions.get("roastery", "unknown"),
        "dataset": evaluation.dataset,
        "original": evaluation.original_kind,
        EXPORT_TAG: canonical_json(conversion.export.model_dump(mode="json")),
    }
    verdict = evaluation.verdicts.get(evaluation.judged_by)
    for name, delta in sorted(verdict.deltas.items()) if verdict else ():
        iou_type, _, metric = name.partition("/")
        if metric == main_metric(iou_type):
            tags[f"ap_delta_{iou_type}"] = "none" if delta is None else f"{delta:.4f}"
    for name, value in main_figures(evaluation).items():
        if not name.startswith("ap_delta_"):
            tags[name] = "none" if value is None else f"{value:.4f}"
    return tags


def main_figures(evaluation: Evaluation) -> dict[str, float | None]:
    """The main figure of each IoU type, 0..100: `ap_bbox` of the judged model, `ap_original_bbox`, `ap_delta_bbox`.

    PQ and mIoU are called `ap_panoptic_seg` and `ap_sem_seg`.
    """
    figures: dict[str, float | None] = {}
    verdict = evaluation.verdicts.get(evaluation.judged_by)
    for iou_type, original in evaluation.metrics["original"].items():
        main = main_metric(iou_type)
        figures[f"ap_{iou_type}"] = evaluation.metrics.get(evaluation.judged_by, {}).get(iou_type, {}).get(main)
        figures[f"ap_original_{iou_type}"] = original.get(main)
        figures[f"ap_delta_{iou_type}"] = verdict.deltas.get(f"{iou_type}/{main}") if verdict else None
    return figures


def parameters(conversion: Conversion) -> dict[str, str]:
    """What the run was given."""
    resolved, evaluation = conversion.resolved, conversion.evaluation
    values = {
        "model": resolved.name,
        "meta_architecture": resolved.meta_architecture,
        "weights": resolved.weights,
        "weights_bytes": str(resolved.weights_bytes),
        "source_sha256": resolved.source_sha256,
        "config_sha256": resolved.config_sha256,
        "dataset": evaluation.dataset,
        "dataset_sha256": evaluation.dataset_sha256,
        "original": evaluation.original_kind,
        "judged_by": evaluation.judged_by,
        "export/batch": str(conversion.export.batch),
        "export/decode": str(conversion.export.decode).lower(),
    }
    values |= conversion.settings
    values |= {f"version/{package}": version for package, version in conversion.versions.items()}
    return {name: value[:_LONGEST_VALUE] for name, value in legal_names(values).items()}


def metrics(conversion: Conversion) -> dict[str, float]:
    """What the run measured, and what its stages cost."""
    return legal_names(evaluation_metrics(conversion.evaluation) | costs(conversion))


def costs(conversion: Conversion) -> dict[str, float]:
    """What the stages cost."""
    values: dict[str, float] = {}
    for timing in conversion.timings:
        values[f"seconds/{timing.stage}"] = timing.seconds
        values[f"peak_memory_mb/{timing.stage}"] = timing.peak_memory_mb
    return legal_names(values)


def evaluation_metrics(evaluation: Evaluation) -> dict[str, float]:
    """What was measured. What COCO does not define (None, NaN) is left out: it is no number."""
    values: dict[str, float | None] = {
        "images": float(evaluation.images),
        "failed_images": float(len(evaluation.failed_images)),
        "passed": float(evaluation.passed),
    }
    values |= main_figures(evaluation)
    for target, types in evaluation.metrics.items():
        values |= {f"{target}/{iou_type}/{name}": value for iou_type, name, value in _flat(types)}
    for target, verdict in evaluation.verdicts.items():
        values |= {f"delta/{target}/{name}": delta for name, delta in verdict.deltas.items()}
    for target, latency in evaluation.latency.items():
        values |= _latency(target, latency.median_ms, latency.p90_ms)
    for parity in evaluation.parity:
        values[f"parity/{parity.runtime}/passed"] = float(parity.passed)
        values |= {f"parity/{parity.runtime}/{name}": value for name, value in parity.largest.items()}
    numbers = {name: value for name, value in values.items() if value is not None and math.isfinite(value)}
    return legal_names(numbers)


def name_mark(name: str) -> str:
    """A model's name as a search may ask for it, whatever is in it."""
    return hashlib.sha256(name.encode()).hexdigest()[:32]


def is_of_a_class(metric: str) -> bool:
    """Whether a metric's name says one class alone: `torch/bbox/AP-dog`."""
    return metric.rpartition("/")[2].startswith(OF_CLASSES)


def legal_names(values: Mapping[str, Value]) -> dict[str, Value]:
    """The same values under names that MLflow takes, no two the same."""
    legal: dict[str, Value] = {}
    for name, value in values.items():
        candidate = _legal(name)
        if candidate in legal:
            digest = hashlib.sha256(name.encode()).hexdigest()[:8]
            candidate = f"{candidate[: _LONGEST_NAME - len(digest) - 1]}_{digest}"
        legal[candidate] = value
    return legal


def _legal(name: str) -> str:
    cleaned = _ILLEGAL.sub("_", name)
    # A name must be its own path: "a//b", "../a" and "/a" are refused.
    parts = [part for part in cleaned.split("/") if part not in ("", ".", "..")]
    return posixpath.join(*parts)[:_LONGEST_NAME].rstrip("/") if parts else "_"


def _flat(types: Mapping[str, Mapping[str, float | None]]) -> Iterable[tuple[str, str, float | None]]:
    return ((iou_type, name, value) for iou_type, values in types.items() for name, value in values.items())


def _latency(target: Finder, median_ms: float, p90_ms: float) -> dict[str, float | None]:
    return {f"latency_ms/{target}/median": median_ms, f"latency_ms/{target}/p90": p90_ms}
