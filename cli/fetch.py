"""`roastery fetch`: a converted model out of the registry, verified."""

from pathlib import Path
from typing import Annotated

import typer

from cli.plain import plain
from cli.registry_options import PipelineOption, TrackingOption, open_registry


def fetch(
    name: Annotated[str, typer.Argument(metavar="NAME[/VERSION|@ALIAS]", help="A converted model.")],
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="A new or empty folder, or one that was fetched before.")
    ],
    pipeline: PipelineOption = None,
    tracking_uri: TrackingOption = None,
) -> None:
    """Fetch a converted model into a folder, verified against the digests of its conversion.

    The folder is there whole or not at all. What it holds runs as any converted model.

    Examples:

    roastery fetch mask_rcnn_fpn@production model

    roastery fetch mask_rcnn_fpn/3 model

    roastery predict model photo.jpg -o found
    """
    from cli.tables import console

    out = console()
    registry = open_registry(pipeline, tracking_uri)
    with out.status(f"fetching {plain(name)}"):
        answer = registry.fetch(name, folder)
    files = ", ".join(answer.files)
    out.print(f"{plain(answer.name)} version {answer.version} in {plain(answer.folder)}: {files}", soft_wrap=True)
