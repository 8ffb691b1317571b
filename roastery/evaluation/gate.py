"""The gate: is the converted model as good as the original?

Everything that was not measured fails: a gate that passes on NaN, on no image or on a missing metric is none.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

Metrics = Mapping[str, Mapping[str, float | None]]
"""IoU type to metric to 0..100; None or NaN where COCO defines none."""

_MAIN = {"box_proposals": "AR@1000", "panoptic_seg": "PQ", "sem_seg": "mIoU"}
MAIN_METRICS = frozenset({"AP", *_MAIN.values()})
"""The metrics that the policy bounds."""

NAMED_AT_MOST = 5


def main_metric(iou_type: str) -> str:
    """The metric of an IoU type that must be a number, and that the policy bounds."""
    return _MAIN.get(iou_type, "AP")


class Parity(Protocol):
    """What a comparison by tensors found: a ParityReport or its summary."""

    @property
    def passed(self) -> bool: ...

    @property
    def differences(self) -> tuple[str, ...]: ...


@dataclass(frozen=True)
class GatePolicy:
    """What a conversion must keep to.

    Attributes:
        max_ap_delta: the most by which the AP of an IoU type may differ, in points of 0..100.
        two_sided: a converted model that is better by more than that fails too: it is not the same model.
        require_parity: the tensors must agree.
    """

    max_ap_delta: float = 0.1
    two_sided: bool = True
    require_parity: bool = True

    def __post_init__(self) -> None:
        if not (math.isfinite(self.max_ap_delta) and self.max_ap_delta >= 0):
            raise ValueError(f"max_ap_delta must be a number of at least 0, not {self.max_ap_delta}")

    def allows(self, delta: float) -> bool:
        """Whether a metric may differ so much, converted minus original; NaN is no difference that it allows."""
        return (abs(delta) if self.two_sided else -delta) <= self.max_ap_delta


@dataclass(frozen=True)
class Verdict:
    """The gate's word.

    Attributes:
        reasons: a sentence for each thing that failed. None: it passed.
        deltas: "bbox/AP" and so on: converted minus original, for every metric that both have; NaN where either is.
    """

    reasons: tuple[str, ...]
    deltas: dict[str, float] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        return not self.reasons


def judge(
    original: Metrics,
    converted: Metrics,
    parity: Parity | None,
    images: int,
    failed_images: Sequence[str],
    policy: GatePolicy | None = None,
) -> Verdict:
    """Judge a converted model by its original, both measured on the same images.

    Args:
        parity: None if it was not measured.
        images: how many images were evaluated.
        failed_images: those on which a model raised; one fails the gate.
        policy: the default policy where it is None.
    """
    policy = policy or GatePolicy()
    reasons: list[str] = []
    if images <= 0:
        reasons.append("no image was evaluated")
    if failed_images:
        reasons.append(f"{len(failed_images)} images failed: {_shortened(failed_images)}")
    if policy.require_parity:
        if parity is None:
            reasons.append("parity was not measured")
        elif not parity.passed:
            what = _shortened(parity.differences) if parity.differences else "no difference was named"
            reasons.append(f"the tensors differ: {what}")
    if not original:
        reasons.append("the original has no metrics")
    deltas: dict[str, float] = {}
    for iou_type in sorted({*original, *converted}):
        if iou_type not in original or iou_type not in converted:
            reasons.append(f"{iou_type}: the {_lacking(iou_type, original)} model has no metrics")
            continue
        reasons += _judge_metrics(iou_type, original[iou_type], converted[iou_type], policy, deltas)
    return Verdict(tuple(reasons), deltas)


def _judge_metrics(
    iou_type: str,
    original: Mapping[str, float | None],
    converted: Mapping[str, float | None],
    policy: GatePolicy,
    deltas: dict[str, float],
) -> list[str]:
    reasons = []
    main = main_metric(iou_type)
    for metric in dict.fromkeys([main, *original, *converted]):
        name = f"{iou_type}/{metric}"
        if metric not in original or metric not in converted:
            reasons.append(f"{name}: the {_lacking(metric, original)} model has none")
            continue
        before, after = _number(original[metric]), _number(converted[metric])
        deltas[name] = round(after - before, 6)
        for kind, value in (("original", before), ("converted", after)):
            # COCO defines no APl where no object is large, but that must be so for both.
            undefined_in_both = metric != main and math.isnan(before) and math.isnan(after)
            if not math.isfinite(value) and not undefined_in_both:
                reasons.append(f"{name}: the {kind} model's is {value}, not a number")
        if metric == main and math.isfinite(deltas[name]) and not policy.allows(deltas[name]):
            reasons.append(
                f"{name}: {before:.3f} became {after:.3f}, which differs by {deltas[name]:+.3f}; "
                f"allowed is {policy.max_ap_delta:g}"
            )
    return reasons


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _lacking(name: str, original: Mapping[str, object]) -> str:
    return "converted" if name in original else "original"


def _shortened(names: Sequence[str]) -> str:
    listed = "; ".join(names[:NAMED_AT_MOST])
    rest = len(names) - NAMED_AT_MOST
    return f"{listed}; and {rest} more" if rest > 0 else listed
