"""What Prefect shows and tells of a re-evaluation: `reevaluation-<model>`, a table, and an event.

An automation acts on the events `roastery.reevaluation.passed` and `roastery.reevaluation.failed` of the resource
`roastery.model.<model>`; their payload has the version, the figures and the aliases.
"""

from typing import Any

from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.events import emit_event

from flows.shown import slug, slug_in, unimportant
from roastery.registry.filed import Refiled
from roastery.results import ModelSummary, TargetSummary

EVENT = "roastery.reevaluation"


def show_reevaluation(summary: ModelSummary) -> None:
    """The figures of the original and of the converted model, or why there are none."""
    failure = summary.failure
    with unimportant():
        for each in summary.targets:
            key = f"reevaluation-{slug_in(summary.model, each.target)}"
            create_table_artifact(_rows(each), key=key, description=_description(each))
        if failure is not None:
            # Indented: code, and nothing else to Markdown.
            create_markdown_artifact(
                f"# {summary.model} again: {summary.ended}\n\n    {failure.stage}: {failure.reason}",
                f"reevaluation-{slug(summary.model)}",
            )


def tell_reevaluation(model: str, summary: TargetSummary, filed: Refiled) -> None:
    """The event. It is sent when the verdict is on record, and the aliases are where they belong."""
    registered = filed.registered
    payload: dict[str, Any] = {
        "model": registered.name,
        "version": registered.version,
        "passed": summary.passed,
        "judged_by": summary.judged_by,
        "reasons": list(summary.reasons),
        "differences": {figure.iou_type: figure.difference for figure in summary.figures},
        "aliases_taken": list(filed.taken),
        "aliases_kept": list(filed.kept),
        "run": registered.run_url,
    }
    with unimportant():
        emit_event(
            f"{EVENT}.{'passed' if summary.passed else 'failed'}",
            resource={
                "prefect.resource.id": f"roastery.model.{model}",
                "prefect.resource.name": model,
                "roastery.version": str(registered.version),
            },
            payload=payload,
        )


def _rows(summary: TargetSummary) -> list[dict[str, Any]]:
    return [
        {
            "figure": f"{figure.iou_type} {figure.metric}",
            "original": _shown(figure.original),
            "converted": _shown(figure.converted),
            "difference": _shown(figure.difference),
            "verdict": _ended(summary),
        }
        for figure in summary.figures
    ]


def _ended(summary: TargetSummary) -> str:
    return "passed" if summary.passed else "failed its gate"


def _description(summary: TargetSummary) -> str:
    filed = summary.registered
    assert filed is not None
    lines = [f"# {filed.name} again: {_ended(summary)}", *(f"    {reason}" for reason in summary.reasons)]
    lines.append(f"[Version {filed.version} of {filed.name}]({filed.run_url})")
    return "\n\n".join(lines)


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
