"""`roastery promote`: give a version that passes an alias of the team's own."""

from typing import Annotated

import typer

from cli.plain import plain
from cli.registry_options import PipelineOption, TrackingOption, open_registry

ReasonOption = Annotated[
    str, typer.Option("--reason", "-m", prompt="Reason", help="Goes on record; asked for where it is not given.")
]


def promote(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A model.")],
    reason: ReasonOption,
    to: Annotated[str, typer.Option(help="The alias.")] = "production",
    version: Annotated[
        int | None, typer.Option(min=1, help="A converted version.  [default: `validated`, else `candidate`]")
    ] = None,
    pipeline: PipelineOption = None,
    tracking_uri: TrackingOption = None,
) -> None:
    """Give an alias to a converted version that passes its gate. The move and its reason go on record.

    `candidate` and `validated` are the gate's own, and are not to be had so.

    Examples:

    roastery promote mask_rcnn_fpn --to production -m "a week in staging"

    roastery promote mask_rcnn_fpn --to staging --version 3 -m "for the demo"
    """
    moved = open_registry(pipeline, tracking_uri).promote(name, to, reason=reason, version=version)
    if moved is None:
        typer.echo(f"{name}: {to} is there already")
        return
    before = f", before it version {moved.from_version}" if moved.from_version else ""
    typer.echo(plain(f"{name}: {to} is version {moved.to_version}{before}"))
