"""`roastery history`: all that happened to a model."""

from typing import Annotated

import typer

from cli.plain import plain
from cli.registry_options import JsonOption, PipelineOption, TrackingOption, open_registry


def history(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A model.")],
    json: JsonOption = False,
    pipeline: PipelineOption = None,
    tracking_uri: TrackingOption = None,
) -> None:
    """Tell all that happened to a model: sources, conversions, evaluations, and every move of an alias with its reason.

    Examples:

    roastery history mask_rcnn_fpn
    """
    events = open_registry(pipeline, tracking_uri).history(name)
    if json:
        from pydantic import TypeAdapter

        from roastery.registry.answers import Event

        typer.echo(TypeAdapter(list[Event]).dump_json(events, indent=2).decode())
        return
    from cli.tables import console

    out = console()
    for event in events:
        what = f"version {event.version}" if event.version is not None else ""
        if event.move is not None:
            before, after = (f"version {v}" if v else "none" for v in (event.move.from_version, event.move.to_version))
            what = f"{event.move.alias}: {before} to {after}"
        by = f" ({event.by})" if event.by else ""
        line = f"{event.at:%Y-%m-%d %H:%M:%S}  {event.kind:<15} {plain(what)}: {plain(event.said)}{plain(by)}"
        out.print(line, highlight=False, soft_wrap=True)
