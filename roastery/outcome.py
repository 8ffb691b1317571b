"""How a model's run ended, in short, and how it is told to a fleet that may wait on another machine: by the store."""

import logging

from pydantic import ValidationError

from roastery.evaluation.gate import main_metric
from roastery.filesystem import faults, make_folder, open_filesystem, read
from roastery.results import Ending, Evaluation, Figure, Filed, ModelOutcome, ModelSummary, Registered, TargetSummary
from roastery.store import Store

FOLDER = "outcomes"

_logger = logging.getLogger(__name__)


def summarised(outcome: ModelOutcome) -> ModelSummary:
    """What a fleet keeps of it."""
    if outcome.failure is not None:
        ended: Ending = "failed"
    else:
        ended = "passed" if outcome.passed else "failed its gate"
    return ModelSummary(
        model=outcome.model,
        ended=ended,
        targets=tuple(map(summary_of_filed, outcome.filed)),
        failure=outcome.failure,
        seconds=outcome.seconds,
    )


def summary_of_filed(filed: Filed) -> TargetSummary:
    """Of a conversion that was filed."""
    conversion = filed.conversion
    return summary_of(
        conversion.target,
        conversion.evaluation,
        filed.registered,
        report=conversion.report.uri,
        artifacts=conversion.converted.uri,
    )


def summary_of(
    target: str, evaluation: Evaluation, registered: Registered | None, *, artifacts: str, report: str | None = None
) -> TargetSummary:
    """Of a model that went through to its verdict."""
    figures = []
    for iou_type, original in evaluation.metrics["original"].items():
        main = main_metric(iou_type)
        converted = evaluation.metrics[evaluation.judged_by].get(iou_type, {})
        figures.append(
            Figure(iou_type=iou_type, metric=main, original=original.get(main), converted=converted.get(main))
        )
    return TargetSummary(
        target=target,
        passed=evaluation.passed,
        figures=tuple(figures),
        judged_by=evaluation.judged_by,
        reasons=gate_reasons(evaluation),
        registered=registered,
        report=report,
        artifacts=artifacts,
    )


def gate_reasons(evaluation: Evaluation) -> tuple[str, ...]:
    """Why the gate failed, by runtime."""
    return tuple(
        f"{runtime}: {reason}" for runtime, verdict in evaluation.verdicts.items() for reason in verdict.reasons
    )


def leave(store: Store, run: str, summary: ModelSummary) -> None:
    """Leave it in the store for who waits for that run. That it cannot be left is logged: the run's state says the
    most important of it.
    """
    filesystem, folder = open_filesystem(f"{store.url}/{FOLDER}")
    try:
        make_folder(filesystem, folder)
        filesystem.pipe_file(f"{folder}/{run}.json", summary.model_dump_json().encode())
    except faults(filesystem) as error:
        _logger.warning("%s: how the run ended cannot be left in the store: %s", summary.model, error)


def take(store: Store, run: str) -> ModelSummary | None:
    """What that run left, once: it is removed. None where it left nothing."""
    filesystem, folder = open_filesystem(f"{store.url}/{FOLDER}")
    path = f"{folder}/{run}.json"
    wrong: tuple[type[Exception], ...] = (*faults(filesystem), ValidationError)
    try:
        content = read(filesystem, path)
        filesystem.rm_file(path)
        return ModelSummary.model_validate_json(content)
    except wrong as error:
        _logger.warning("%s: no run left there how it ended: %s", path, error)
        return None
