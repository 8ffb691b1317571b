"""What a failed stage leaves for a person: `<store>/failures/<model>/<stage>/`.

`failure.md` says what failed, on which inputs, and the command that runs that stage alone; `request.json` is what that
command reads; `log.txt` is the stage's log, with the traceback or the last words of its process. A stage that fails
again writes over them, and one that succeeds removes them.
"""

import json
import logging
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from roastery.errors import ConfigError, RoasteryError, UserError
from roastery.filesystem import faults, listed, make_folder, open_filesystem, read
from roastery.results import ArtifactRef, StageFailure
from roastery.stages.stage import Request
from roastery.stages.stage_log import StageLog, listening
from roastery.store import Store

REQUEST_FILE = "request.json"
LOG_FILE = "log.txt"
SUMMARY_FILE = "failure.md"
FOLDER = "failures"

_LAST_WORDS = "; its last words:"
_NO_WORDS = "; it left no last words"
_LONGEST_VALUE = 300
_MOST_BYTES = 64 << 20

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Asked:
    """What was asked of a stage, as `request.json` says it."""

    stage: str
    store: str
    request: dict[str, Any]


def folder_of(store: Store, request: Request) -> str:
    """Where the stage leaves what it failed with."""
    return f"{store.url}/{FOLDER}/{request.model}/{request.label}"


def command_of(stage: str, folder: str) -> str:
    """The command that runs the stage alone."""
    return f"roastery stage {stage} --from {shlex.quote(folder)}"


def reason_of(error: BaseException) -> str:
    """An error in one line. The last words of a process are in the log."""
    text = str(error).split(_LAST_WORDS)[0].strip().removesuffix(_NO_WORDS)
    line = " ".join(text.split())
    if isinstance(error, RoasteryError):
        return line or type(error).__name__
    return f"{type(error).__name__}: {line}" if line else type(error).__name__


def failure_of(store: Store, request: Request, error: BaseException) -> StageFailure:
    """What the fleet's summary says of a failed stage."""
    folder = folder_of(store, request)
    left = _is_left(folder)
    return StageFailure(
        stage=request.step,
        reason=reason_of(error),
        mistake=isinstance(error, UserError),
        look=folder if left else None,
        command=command_of(request.stage, folder) if left else None,
    )


def _is_left(folder: str) -> bool:
    filesystem, path = open_filesystem(folder)
    try:
        return REQUEST_FILE in listed(filesystem, path)
    except faults(filesystem):
        return False


@contextmanager
def explained(store: Store, request: Request) -> Iterator[StageLog]:
    """Leave `failures/<model>/<stage>/` where the block raises, and remove it where it does not.

    Gives the log, to which more may be added. That nothing can be left (the store may be what failed) is logged, and
    hides nothing.
    """
    with listening() as log:
        try:
            yield log
        except Exception as error:
            log.add_error(error)
            if isinstance(error, RoasteryError) and error.log:
                log.add("In its own process:")
                log.add(error.log)
            _leave(store, request, error, log.text)
            raise
    forget(store, request)


def forget(store: Store, request: Request) -> None:
    """Remove what an earlier failure left."""
    folder = folder_of(store, request)
    filesystem, path = open_filesystem(folder)
    try:
        if listed(filesystem, path):
            filesystem.rm(path, recursive=True)
    except faults(filesystem) as error:
        _logger.warning("%s: what an earlier failure left there cannot be removed: %s", folder, error)


def read_asked(folder: str) -> Asked:
    """What was asked of a stage that failed.

    Args:
        folder: a path or an fsspec URL.

    Raises:
        ConfigError: no `request.json` there, or what is no request of a stage.
    """
    filesystem, path = open_filesystem(folder)
    place = f"{folder.rstrip('/')}/{REQUEST_FILE}"
    wrong: tuple[type[Exception], ...] = (*faults(filesystem), ValueError, KeyError, TypeError, RecursionError)
    try:
        info = listed(filesystem, path).get(REQUEST_FILE)
        if info is None:
            raise ConfigError(f"{place}: no such file; name a folder that a failed stage left")
        if info["size"] > _MOST_BYTES:
            raise ConfigError(f"{place}: too large for a stage's request; name the folder that a failed stage left")
        content = json.loads(read(filesystem, f"{path}/{REQUEST_FILE}"))
        return Asked(str(content["stage"]), str(content["store"]), dict(content["request"]))
    except wrong as error:
        raise ConfigError(f"{place}: not a stage's request ({reason_of(error)}); name another folder") from error


def _leave(store: Store, request: Request, error: Exception, log: str) -> None:
    folder = folder_of(store, request)
    asked = {"stage": request.stage, "store": store.url, "request": request.model_dump(mode="json")}
    files = {
        LOG_FILE: log,
        SUMMARY_FILE: _summary(request, error, folder),
        # Last: what has it can be run again.
        REQUEST_FILE: json.dumps(asked, indent=2, sort_keys=True) + "\n",
    }
    filesystem, path = open_filesystem(folder)
    try:
        make_folder(filesystem, path)
        for name, text in files.items():
            filesystem.pipe_file(f"{path}/{name}", text.encode(errors="backslashreplace"))
    except faults(filesystem) as fault:
        _logger.warning("%s: the failure's log cannot be left there: %s", folder, fault)


def _summary(request: Request, error: Exception, folder: str) -> str:
    kind = "Something for you to mend." if isinstance(error, UserError) else "Not for you to mend, unless it stays."
    lines = [
        f"# {request.label} of {request.model} failed",
        f"    {reason_of(error)}",
        f"{kind} `{LOG_FILE}` has the log and the traceback.",
        "## The stage alone",
        f"    {command_of(request.stage, folder)}",
        "It reads `request.json`, runs in one process, and leaves its artifact in the store, where the next "
        "`roastery run` finds it.",
        "## Its inputs",
        "\n".join(f"    {name}: {value}" for name, value in inputs_of(request)),
    ]
    return "\n\n".join(lines) + "\n"


def inputs_of(request: BaseModel, prefix: str = "") -> Iterator[tuple[str, str]]:
    """The names of what a stage was given, each with its value; of an artifact, where it lies and what is in it."""
    for name in type(request).model_fields:
        yield from _described(f"{prefix}{name}", getattr(request, name))


def _described(name: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, ArtifactRef):
        yield name, f"{value.uri} ({', '.join(sorted(value.files))})"
    elif isinstance(value, BaseModel):
        yield from inputs_of(value, f"{name}.")
    elif isinstance(value, Mapping):
        for key, each in value.items():
            yield from _described(f"{name}.{key}", each)
    elif isinstance(value, Sequence) and not isinstance(value, str) and any(isinstance(e, BaseModel) for e in value):
        for number, each in enumerate(value):
            yield from _described(f"{name}.{number}", each)
    else:
        text = " ".join(str(value).split())
        yield name, text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}..."
