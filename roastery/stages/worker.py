"""The worker: `python -m roastery.stages.worker`, the process that does the heavy stages of one model.

It answers frames of `roastery/peer.py` with JSON in both directions:

    {"stage", "store", "request"}  ->  {"result": ...} or {"error": {"kinds": [...], "message": "..."}}

An error's kinds are the names of its classes, the most special first.
"""

import faulthandler
import importlib
import json
import logging
import sys
import traceback
from pathlib import Path
from typing import Any

from roastery.errors import RoasteryError
from roastery.peer_child import serve
from roastery.stages import STAGES
from roastery.stages.stage import AnyStage, perform
from roastery.store import Store

_stores: dict[str, Store] = {}


def answer(payload: bytes) -> bytes:
    """Do what a request asks."""
    message = json.loads(payload)
    try:
        reply: dict[str, Any] = {"result": _perform(message)}
    except RoasteryError as error:
        reply = {"error": {"kinds": _kinds(error), "message": str(error)}}
    # The boundary of the process: whatever went wrong here is told there, and the process goes on to the next request.
    except Exception as error:  # noqa: BLE001
        last = traceback.extract_tb(error.__traceback__)[-1]
        first_line = (str(error).strip().splitlines() or [""])[0]
        said = f"{type(error).__name__}: {first_line} ({Path(last.filename).name}, line {last.lineno})"
        traceback.print_exception(error)
        reply = {"error": {"kinds": _kinds(error), "message": f"{message['stage']}: {said}"}}
    return json.dumps(reply).encode()


def _kinds(error: BaseException) -> list[str]:
    return [kind.__name__ for kind in type(error).__mro__]


def load_stage(name: str) -> AnyStage:
    """The stage of that name.

    Raises:
        ValueError: there is none.
    """
    if name not in STAGES:
        raise ValueError(f"there is no stage {name!r}; there are {', '.join(STAGES)}")
    stage: AnyStage = importlib.import_module(f"roastery.stages.{name}").STAGE
    return stage


def _perform(message: dict[str, Any]) -> Any:
    stage = load_stage(message["stage"])
    store = _stores.setdefault(message["store"], Store(message["store"]))
    return perform(stage, stage.request.model_validate(message["request"]), store).model_dump(mode="json")


def main() -> None:
    faulthandler.enable()
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(message)s")
    serve(answer)


if __name__ == "__main__":
    main()
