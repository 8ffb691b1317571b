"""`roastery models`: what the registry holds, one line a model."""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from cli.ages import age, parse_age
from cli.plain import plain
from cli.registry_options import JsonOption, PipelineOption, TrackingOption, open_registry

if TYPE_CHECKING:
    from roastery.registry.answers import ModelAnswer

_COLUMNS = ("model", "source", "version", "verdict", "judged by", "", "AP", "difference", "age")


def models(
    failed: Annotated[bool, typer.Option("--failed", help="Whose newest version does not pass its gate.")] = False,
    stale: Annotated[
        bool, typer.Option("--stale", help="Made of another source than the newest, or by another Roastery.")
    ] = False,
    unconverted: Annotated[bool, typer.Option("--unconverted", help="Registered, and not converted yet.")] = False,
    older_than: Annotated[
        str | None,
        typer.Option(metavar="AGE", help="Not measured for so long: a number with m, h, d or w.", show_default=False),
    ] = None,
    where: Annotated[
        str, typer.Option(metavar="QUESTION", help='Figures, as "ap_delta_bbox < -0.1".', show_default=False)
    ] = "",
    json: JsonOption = False,
    pipeline: PipelineOption = None,
    tracking_uri: TrackingOption = None,
) -> None:
    """List the models of the registry: source, newest converted version, verdict, AP, difference, age.

    What is asked for together must all be true. Figures are those of the last evaluation: ap_bbox, ap_original_bbox,
    ap_delta_bbox, and the same of segm, keypoints, panoptic_seg and sem_seg; or any metric of MLflow's, as
    latency_ms/torch/median.

    Examples:

    roastery models

    roastery models --failed

    roastery models --where "ap_delta_bbox < -0.1 and ap_bbox > 40"

    roastery models --stale --json
    """
    since: timedelta | None = None if older_than is None else parse_age("--older-than", older_than)
    registry = open_registry(pipeline, tracking_uri)
    found = registry.models(failed=failed, stale=stale, unconverted=unconverted, older_than=since, where=where)
    if json:
        from pydantic import TypeAdapter

        from roastery.registry.answers import ModelAnswer

        typer.echo(TypeAdapter(list[ModelAnswer]).dump_json(found, indent=2).decode())
        return
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from cli.tables import console

    table = Table(box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    for heading in _COLUMNS:
        figure = heading in ("source", "version", "AP", "difference", "age")
        table.add_column(heading, justify="right" if figure else "left", no_wrap=heading != "verdict")
    now = datetime.now(UTC)
    for each in found:
        for row in _rows(each, now):
            table.add_row(*row)
    out = console()
    out.print(table)
    out.print(f"{len(found)} {'model' if len(found) == 1 else 'models'}", highlight=False)


def _rows(each: "ModelAnswer", now: datetime) -> list[list[str]]:
    source = "-" if each.source_version is None else str(each.source_version)
    if each.converted_version is None:
        since = "" if each.registered_at is None else age(each.registered_at, now)
        return [[plain(each.model), source, "-", "not converted", "", "", "", "", since]]
    colour = "green" if each.verdict == "passed" else "red"
    verdict = f"[{colour}]{each.verdict or 'unknown'}[/{colour}]"
    called = f" ({plain(', '.join(each.aliases))})" if each.aliases else ""
    words = f"{verdict}{called}" + (f" [yellow]stale: {plain('; '.join(each.stale))}[/yellow]" if each.stale else "")
    since = "" if each.measured_at is None else age(each.measured_at, now)
    figures = [
        [plain(kind), *(_figure(value, sign) for value, sign in ((each.ap.get(kind), ""), (delta, "+")))]
        for kind, delta in each.ap_delta.items()
    ] or [["", "-", "-"]]
    first, *more = figures
    judge = plain(each.judged_by or "-")
    rows = [[plain(each.model), source, str(each.converted_version), words, judge, *first, since]]
    return rows + [["", "", "", "", "", *figure, ""] for figure in more]


def _figure(value: float | None, sign: str) -> str:
    return "-" if value is None else f"{value:{sign}.2f}"
