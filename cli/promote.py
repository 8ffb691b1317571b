"""`roastery promote`: give a version that passes an alias of the team's own."""

import sys
from typing import Annotated

import typer

from cli.plain import plain
from cli.registry_options import PipelineOption, TrackingOption, open_registry
from roastery.errors import ConfigError

ReasonOption = Annotated[
    str | None,
    typer.Option("--reason", "-m", help="Goes on record; asked for where it is not given.", show_default=False),
]


def promote(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A model.")],
    reason: ReasonOption = None,
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
    reason = reason_or_asked(reason)
    moved = open_registry(pipeline, tracking_uri).promote(name, to, reason=reason, version=version)
    if moved is None:
        say(f"{name}: {to} is there already")
        return
    before = f", before it version {moved.from_version}" if moved.from_version else ""
    say(f"{name}: {to} is version {moved.to_version}{before}")


def reason_or_asked(reason: str | None) -> str:
    """The reason that was given, else what a person at the terminal says.

    Raises:
        ConfigError: none was given, and there is nobody to ask.
    """
    if reason is not None:
        return reason
    if not sys.stdin.isatty():
        raise ConfigError("no reason is given; say one with --reason")
    return str(typer.prompt("Reason"))


def say(line: str) -> None:
    """A line of what was done, in which names are as they are."""
    from cli.tables import console

    console().print(plain(line), highlight=False, soft_wrap=True)
