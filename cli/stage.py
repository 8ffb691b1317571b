"""`roastery stage`: one stage alone, on the inputs that it failed on."""

import logging
import time
from typing import Annotated, TypeVar

import typer
from pydantic import ValidationError

from cli.environment import HOME, prepare_environment
from roastery.errors import ConfigError
from roastery.stages import STAGES
from roastery.stages.failure import Asked, explained, read_asked
from roastery.stages.stage import Request, perform
from roastery.stages.worker import load_stage
from roastery.store import Store

_LOG = "log"
RequestT = TypeVar("RequestT", bound=Request)


def stage(
    name: Annotated[str, typer.Argument(metavar="STAGE", help=f"{', '.join(STAGES)} or {_LOG}.", show_default=False)],
    folder: Annotated[
        str,
        typer.Option("--from", metavar="DIR", help="The folder that the failed stage left.", show_default=False),
    ],
    store: Annotated[
        str | None, typer.Option(help="Folder or URL of the artifacts, where they have moved.", show_default=False)
    ] = None,
) -> None:
    """Run one stage of a conversion alone, on what it failed on.

    It runs in this process, with its log on the terminal: a debugger reaches it. Its artifact goes to the store, where
    the next `roastery run` finds it. A stage that fails says where it leaves its inputs, in the table's notes and in
    failure.md.

    Examples:

    roastery stage convert --from .roastery/store/failures/mask_rcnn_fpn/convert-caffe2

    python -m pdb -m cli.main stage trace --from .roastery/store/failures/mask_rcnn_fpn/trace
    """
    asked = read_asked(folder)
    if asked.stage != name:
        raise ConfigError(f"{folder}: holds the request of stage {asked.stage!r}, not {name!r}; name that stage")
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s: %(message)s")
    logging.getLogger("roastery").setLevel(logging.INFO)
    where = Store(store or asked.store)
    started = time.perf_counter()
    done = _file(asked, folder, where) if name == _LOG else _perform(asked, folder, where)
    typer.echo(f"{done} ({time.perf_counter() - started:.1f} s)")


def _perform(asked: Asked, folder: str, store: Store) -> str:
    if asked.stage not in STAGES:
        raise ConfigError(f"{folder}: there is no stage {asked.stage!r}; there are {', '.join(STAGES)} and {_LOG}")
    known = load_stage(asked.stage)
    request = _request(known.request, asked, folder)
    with explained(store, request):
        return f"{asked.stage}: {perform(known, request, store).artifact.uri}"


def _file(asked: Asked, folder: str, store: Store) -> str:
    prepare_environment(HOME)
    from tasks.log import LogRequest, file_conversion

    request = _request(LogRequest, asked, folder)
    with explained(store, request):
        registered = file_conversion(request, store)
    return f"log: {registered.name} version {registered.version}, {registered.run_url}"


def _request(kind: type[RequestT], asked: Asked, folder: str) -> RequestT:
    try:
        return kind.model_validate(asked.request)
    except ValidationError as error:
        problem = error.errors()[0]
        key = ".".join(str(part) for part in problem["loc"])
        raise ConfigError(
            f"{folder}: no request of stage {asked.stage!r}: {key}: {problem['msg']}; run `roastery run` again"
        ) from error
