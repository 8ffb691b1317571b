"""`roastery diff`: two converted versions of a model beside each other."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.plain import plain
from cli.registry_options import JsonOption, PipelineOption, TrackingOption, open_registry


def diff(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A model.")],
    one: Annotated[int, typer.Argument(metavar="V1", min=1, help="A converted version.")],
    other: Annotated[int, typer.Argument(metavar="V2", min=1, help="Another one.")],
    pictures: Annotated[
        Path | None,
        typer.Option(help="A folder for the reports' pictures, each version's beside the other's.", show_default=False),
    ] = None,
    json: JsonOption = False,
    pipeline: PipelineOption = None,
    tracking_uri: TrackingOption = None,
) -> None:
    """Show in what two converted versions of a model differ: figures, operators, sizes, settings, pictures.

    Examples:

    roastery diff mask_rcnn_fpn 3 4

    roastery diff mask_rcnn_fpn 3 4 --pictures beside
    """
    registry = open_registry(pipeline, tracking_uri)
    answer = registry.diff(name, one, other)
    written = registry.pictures_beside(answer, pictures) if pictures is not None else []
    if json:
        typer.echo(answer.model_dump_json(indent=2))
        return
    from cli.tables import console

    out = console()
    out.print(f"[bold]{plain(answer.name)}[/bold] version {one} and version {other}", highlight=False)
    parts: dict[str, Mapping[str, tuple[Any, Any]]] = {
        "figures": answer.metrics,
        "operators": answer.operators,
        "bytes of files that differ": answer.files,
        "settings": answer.settings,
    }
    if not any(parts.values()):
        out.print("nothing differs")
    for title, pairs in parts.items():
        if pairs:
            out.print(f"\n[bold]{title}[/bold]", highlight=False)
        for key, (before, after) in pairs.items():
            line = f"  {plain(key):<48} {_said(before):>20} {_said(after):>20} {_change(before, after):>14}"
            out.print(line.rstrip(), highlight=False, soft_wrap=True)
    for file in written:
        out.print(f"picture: {plain(str(file))}", highlight=False, soft_wrap=True)
    if not written:
        for key, places in answer.pictures.items():
            out.print(f"\n{plain(key)}", highlight=False)
            for number, place in zip((one, other), places, strict=True):
                out.print(f"  version {number}: {plain(place or 'none')}", highlight=False, soft_wrap=True)


def _said(value: float | str | None) -> str:
    if value is None:
        return "-"
    return plain(value) if isinstance(value, str) else f"{value:.6g}" if isinstance(value, float) else str(value)


def _change(before: float | str | None, after: float | str | None) -> str:
    if isinstance(before, int | float) and isinstance(after, int | float):
        return f"{after - before:+.6g}"
    return ""
