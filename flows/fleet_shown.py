"""What the Prefect UI shows of a fleet, under keys that stay: `<fleet>`, a table, and `progress-<fleet>`."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast
from uuid import UUID

from prefect.artifacts import create_progress_artifact, create_table_artifact, update_progress_artifact

from flows.shown import unimportant
from roastery.results import Figure, FleetSummary, ModelSummary, TargetSummary

_TOLD_SECONDS = 1.0
_NO_FIGURE = Figure(iou_type="", metric="AP", original=None, converted=None)


@contextmanager
def showing_fleet(models: int, key: str) -> Iterator[Callable[[ModelSummary], None]]:
    """Show how many of a fleet's models have ended, every second at the most. Gives what is to be told of each."""
    shown: list[UUID] = []
    with unimportant():
        shown.append(cast(UUID, create_progress_artifact(0.0, f"progress-{key}", f"0 of {models} models")))
    ended: list[bool] = []
    told = time.monotonic()

    def show(summary: ModelSummary) -> None:
        nonlocal told
        ended.append(summary.passed)
        if shown and (len(ended) == models or time.monotonic() >= told + _TOLD_SECONDS):
            told = time.monotonic()
            with unimportant():
                said = f"{len(ended)} of {models} models, {ended.count(False)} failed; last {summary.model}"
                update_progress_artifact(shown[0], 100.0 * len(ended) / models, said)

    yield show


def show_fleet(summary: FleetSummary, key: str) -> None:
    """How each model of a fleet ended: its figures, or the stage that failed, the reason and where to look."""
    passed = len(summary.models) - len(summary.failed)
    with unimportant():
        create_table_artifact(
            [row for each in summary.models for row in _rows(each)],
            key=key,
            description=f"{passed} of {len(summary.models)} models passed.",
        )


def _rows(summary: ModelSummary) -> list[dict[str, Any]]:
    """A row for each kind of figure of each target; and one of what failed, or of a model that nothing is known of."""
    rows = [_row(summary, target, figure) for target in summary.targets for figure in target.figures or (_NO_FIGURE,)]
    return rows if rows and summary.failure is None else [*rows, _row(summary, None, _NO_FIGURE)]


def _row(summary: ModelSummary, target: TargetSummary | None, figure: Figure) -> dict[str, Any]:
    registered = None if target is None else target.registered
    failure = summary.failure if target is None else None
    if target is not None:
        verdict = f"{'passed' if target.passed else 'failed its gate'} ({target.judged_by})"
    else:
        verdict = summary.ended if failure is None or summary.ended != "failed" else f"failed in {failure.stage}"
    return {
        "model": summary.model,
        "target": None if target is None else target.target,
        "figure": figure.iou_type if figure.metric == "AP" else f"{figure.iou_type} {figure.metric}",
        "AP original": _rounded(figure.original),
        "AP converted": _rounded(figure.converted),
        "difference": _rounded(figure.difference),
        "verdict": verdict,
        "seconds": "unchanged" if summary.unchanged else round(summary.seconds, 1),
        "version": registered.version if registered else None,
        "link": f"[in MLflow]({registered.run_url})" if registered else _code(failure.look if failure else None),
        "reason": _code("; ".join(() if target is None else target.reasons) or (failure.reason if failure else None)),
    }


def _code(text: str | None) -> str | None:
    """The UI takes cells for Markdown; a reason may quote a stranger's file, and is to be nothing but read."""
    return text and f"`{text.replace('`', chr(39))}`"


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)
