"""What the Prefect UI shows of a model's run: artifacts under keys that stay, so that each has the model's history.

| key | what |
|---|---|
| `progress-<model>` | how far the run is |
| `evaluation-<model>` | a table: every metric of the original and of each runtime |
| `report-<model>` | the report without its pictures; of a run that failed, where and why |
| `mlflow-<model>` | a link to the run in MLflow |

What was converted to another target than Caffe2 has the last three under keys that end with `-<target>`.

Nothing of it decides anything: where the server does not take an artifact, that is logged, and the run goes on.
"""

import hashlib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import cast
from uuid import UUID

import httpx
from prefect import get_run_logger
from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.exceptions import PrefectException

from flows.progress import Progress, listening
from roastery.report.files import MARKDOWN_FILE
from roastery.results import Evaluation, Filed, ModelOutcome, StageFailure
from roastery.store import Store

_PLAIN = re.compile(r"[a-z0-9]+(_[a-z0-9]+)*")
# They lie where the UI cannot reach them.
_PICTURE = re.compile(r"^!\[.*\n?", re.MULTILINE)


def slug(name: str) -> str:
    """A model's name as Prefect's keys have it: small letters, digits and dashes; no two names the same."""
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    if _PLAIN.fullmatch(name):
        return plain
    return f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def slug_in(name: str, target: str) -> str:
    """The same of a model in a target. Caffe2's have the keys that they had when there was no other."""
    return slug(name) if target == "caffe2" else f"{slug(name)}-{target}"


@contextmanager
def showing_progress(model: str, steps: Sequence[str], kind: str = "") -> Iterator[None]:
    """Keep `progress-<model>` at how far the run is. Stages that are found in the store are not worth a request.

    Args:
        steps: what is done, in its order.
        kind: of another run than a conversion; the key is `progress-<model>-<kind>` then.
    """
    key = "-".join(filter(None, ("progress", slug(model), kind)))
    shown: list[UUID] = []
    with unimportant():
        shown.append(cast(UUID, create_progress_artifact(0.0, key, f"{model}: begins")))

    ended = 0

    def show(progress: Progress) -> None:
        nonlocal ended
        tell_before(progress)
        # A step comes once for each target. What is built again, because it was lost, is behind.
        place = next((place for place in range(ended, len(steps)) if steps[place] == progress.stage), None)
        if place is None:
            return
        if progress.event == "done":
            ended = place + 1
        if not shown or progress.cached or (progress.event == "begins" and place > 0):
            return
        with unimportant():
            update_progress_artifact(
                shown[0], 100.0 * ended / len(steps), f"{model}: {progress.stage} {progress.event}"
            )

    try:
        with listening(show) as tell_before:
            yield
    finally:
        with unimportant():
            if shown:
                update_progress_artifact(shown[0], 100.0, f"{model}: done")


def show_outcome(outcome: ModelOutcome, store: Store) -> None:
    """The table, the report and the link of each conversion that was filed."""
    for each in outcome.filed:
        _show_filed(outcome.model, each, store)


def _show_filed(model: str, filed: Filed, store: Store) -> None:
    registered, evaluation = filed.registered, filed.conversion.evaluation
    key = slug_in(model, filed.conversion.target)
    report = (store.fetch(filed.conversion.report) / MARKDOWN_FILE).read_text(encoding="utf-8")
    with unimportant():
        create_table_artifact(
            _rows(evaluation), key=f"evaluation-{key}", description=f"{registered.name}: {_verdict(evaluation)}"
        )
        create_link_artifact(
            registered.run_url,
            link_text=f"{registered.name} version {registered.version} in MLflow",
            key=f"mlflow-{key}",
            description=f"{registered.name}: {_verdict(evaluation)}",
        )
        create_markdown_artifact(
            f"[In MLflow, with its pictures]({registered.run_url})\n\n{_PICTURE.sub('', report)}",
            key=f"report-{key}",
            description=f"{registered.name}: {_verdict(evaluation)}",
        )


def show_failure(outcome: ModelOutcome) -> None:
    """Where and why a run failed."""
    assert outcome.failure is not None
    with unimportant():
        create_markdown_artifact(
            _explanation(outcome.model, outcome.failure),
            key=f"report-{slug(outcome.model)}",
            description=f"{outcome.model}: failed in {outcome.failure.stage}",
        )


def _rows(evaluation: Evaluation) -> list[dict[str, str | float | None]]:
    original = evaluation.metrics["original"]
    return [
        {"metric": f"{iou_type}/{name}"}
        | {target: types.get(iou_type, {}).get(name) for target, types in evaluation.metrics.items()}
        for iou_type, values in original.items()
        for name in values
    ]


def _explanation(model: str, failure: StageFailure) -> str:
    lines = [f"# {model}: failed in {failure.stage}", _code(failure.reason)]
    if failure.look and failure.command:
        lines += ["Its log and its inputs:", _code(failure.look), "That stage alone:", _code(failure.command)]
    return "\n\n".join(lines)


def _code(text: str) -> str:
    return f"    {text}"


def _verdict(evaluation: Evaluation) -> str:
    return f"{'passed' if evaluation.passed else 'failed'}, judged by {evaluation.judged_by}"


@contextmanager
def unimportant() -> Iterator[None]:
    """What the server does not take is logged, and hinders nothing."""
    try:
        yield
    except (httpx.HTTPError, PrefectException) as error:
        get_run_logger().warning("the Prefect server did not take an artifact: %s", error)
