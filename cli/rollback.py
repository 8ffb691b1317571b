"""`roastery rollback`: give an alias back to the version that held it before."""

from typing import Annotated

import typer

from cli.promote import ReasonOption, reason_or_asked, say
from cli.registry_options import PipelineOption, TrackingOption, open_registry


def rollback(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A model.")],
    reason: ReasonOption = None,
    alias: Annotated[str, typer.Option(help="The alias.")] = "production",
    pipeline: PipelineOption = None,
    tracking_uri: TrackingOption = None,
) -> None:
    """Give an alias back to the version that held it before. The move and its reason go on record.

    Done again, it goes back one further.

    Examples:

    roastery rollback mask_rcnn_fpn -m "misses bicycles at night"

    roastery rollback mask_rcnn_fpn --alias staging -m "wrong dataset"
    """
    moved = open_registry(pipeline, tracking_uri).roll_back(name, alias, reason=reason_or_asked(reason))
    say(f"{name}: {alias} is version {moved.to_version} again, it was version {moved.from_version}")
