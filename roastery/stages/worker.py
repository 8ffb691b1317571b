"""The worker: `python -m roastery.stages.worker`, the process that does the heavy stages of one model.

It answers frames of `roastery/peer.py` with JSON in both directions:

    {"stage", "store", "key", "request"}  ->  {"result": ...} or {"error": {"kinds": [...], "message": ..., "log": ...}}

An error's kinds are the names of its classes, the most special first; its log ends with the traceback.
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
from roastery.stages.stage_log import listening
from roastery.store import Store

_stores: dict[str, Store] = {}


def answer(payload: bytes) -> bytes:
    """Do what a request asks."""
    message = json.loads(payload)
    with listening() as log:
        try:
            reply: dict[str, Any] = {"result": _perform(message)}
        # The boundary of the process: whatever went wrong here is told there, and it goes on to the next request.
        except Exception as error:  # noqa: BLE001
            log.add_error(error)
            kinds = [kind.__name__ for kind in type(error).__mro__]
            reply = {"error": {"kinds": kinds, "message": _said(message["stage"], error), "log": log.text}}
    return json.dumps(reply).encode()


def _said(stage: str, error: Exception) -> str:
    if isinstance(error, RoasteryError):
        return str(error)
    last = traceback.extract_tb(error.__traceback__)[-1]
    first_line = (str(error).strip().splitlines() or [""])[0]
    return f"{stage}: {type(error).__name__}: {first_line} ({Path(last.filename).name}, line {last.lineno})"


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
    request = stage.request.model_validate(message["request"])
    return perform(stage, request, store, message["key"]).model_dump(mode="json")


def main() -> None:
    faulthandler.enable()
    # The last words of a process that is killed.
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(asctime)s %(message)s")
    logging.getLogger("roastery").setLevel(logging.INFO)
    logging.captureWarnings(True)
    serve(answer)


if __name__ == "__main__":
    main()
