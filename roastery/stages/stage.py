"""What all stages are: a request with a key, work that fills a folder, a result."""

import gc
import json
import logging
import resource
import time
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from roastery.digest import JSON
from roastery.errors import ArtifactMissing
from roastery.provenance import stage_key
from roastery.results import ArtifactRef, StageResult, StageTiming
from roastery.spec import SAFE_NAME
from roastery.stages import at_hand
from roastery.store import Store

FACTS_FILE = "facts.json"
"""What a stage says of its work, in every artifact."""
TIMING_FILE = "timing.json"
"""What the work cost. The one file of an artifact that does not repeat."""

_logger = logging.getLogger(__name__)


class Request(BaseModel):
    """What a stage is asked: small, frozen, JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stage: ClassVar[str]
    packages: ClassVar[tuple[str, ...]]
    """Distributions whose versions decide what the stage makes, whatever it is asked."""
    holds_weights: ClassVar[bool] = False
    """Whether it holds a whole model: what the stage before left of one goes first."""
    goes_on_from: ClassVar[str | None] = None
    """The stage whose work it takes from memory, where that was done by the same process just before."""

    model: str = Field(pattern=SAFE_NAME, description="name of the model that it is done for; it decides nothing")

    @property
    def label(self) -> str:
        """The stage, and which part of it where it has several: fit for a file's name."""
        return self.stage

    @property
    def step(self) -> str:
        """What a person is told that is done: the stage, and for what where there are several."""
        return self.stage

    @abstractmethod
    def inputs(self) -> Mapping[str, JSON]:
        """Everything that decides what the stage makes, by digest and value: no paths, no names, no times.

        Raises:
            UserError: an input that is not there.
        """

    def key(self) -> str:
        """The key of the artifact: same inputs, sources and packages, same key.

        Raises:
            UserError: an input that is not there.
        """
        return stage_key(self.stage, self.inputs(), self.modules(), self.distributions())

    def modules(self) -> tuple[str, ...]:
        """Where the stage's code begins."""
        return (type(self).__module__,)

    def distributions(self) -> tuple[str, ...]:
        """Distributions whose versions decide what the stage makes."""
        return self.packages


class Facts(BaseModel):
    """What a stage says of its work: small, frozen, JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid")


RequestT = TypeVar("RequestT", bound=Request)
FactsT = TypeVar("FactsT", bound=Facts)
ResultT = TypeVar("ResultT", bound=StageResult)
ModelT = TypeVar("ModelT", bound=BaseModel)


@dataclass(frozen=True)
class Stage(Generic[RequestT, FactsT, ResultT]):
    """A stage: `run(request, store, directory)` fills the folder and gives the facts; the result holds both."""

    request: type[RequestT]
    facts: type[FactsT]
    result: Callable[[ArtifactRef, StageTiming, FactsT], ResultT]
    run: Callable[[RequestT, Store, Path], FactsT]

    @property
    def name(self) -> str:
        return self.request.stage


def perform(
    stage: Stage[RequestT, FactsT, ResultT], request: RequestT, store: Store, key: str | None = None
) -> ResultT:
    """Do a stage's work, unless its artifact is in the store already.

    Args:
        key: the request's, where it is known: all sources that the stage imports are read for it.

    Raises:
        UserError, StoreUnavailable, and what the stage's work raises.
    """
    key = key or request.key()
    found = store.find(stage.name, key)
    if found is not None:
        return recall(stage, found, store)
    with store.build(stage.name, key) as build:
        if build.found is None:
            _logger.info("%s %s: building %s", request.model, stage.name, key[:12])
            at_hand.keep_of(request.goes_on_from)
            cost = _Meter(request.holds_weights)
            facts = stage.run(request, store, build.directory)
            timing = cost.read(stage.name)
            _write(build.directory / FACTS_FILE, facts)
            _write(build.directory / TIMING_FILE, timing)
    if build.found is not None:
        return recall(stage, build.ref, store)
    return stage.result(build.ref, timing, facts)


def recall(stage: Stage[RequestT, FactsT, ResultT], artifact: ArtifactRef, store: Store) -> ResultT:
    """The result of work that was done before, from its artifact. The timing is that of then, marked as cached.

    Raises:
        ArtifactMissing: the artifact is gone, or not one of this stage.
    """
    folder = store.fetch(artifact)
    facts = read_facts(stage, artifact, folder)
    timing = _read(TIMING_FILE, StageTiming, artifact, folder)
    return stage.result(artifact, timing.model_copy(update={"cached": True}), facts)


def read_facts(stage: Stage[RequestT, FactsT, ResultT], artifact: ArtifactRef, folder: Path) -> FactsT:
    """What a stage said of its work.

    Args:
        folder: where the store fetched the artifact to.

    Raises:
        ArtifactMissing: the artifact is not one of this stage.
    """
    return _read(FACTS_FILE, stage.facts, artifact, folder)


def _read(name: str, kind: type[ModelT], artifact: ArtifactRef, folder: Path) -> ModelT:
    try:
        return kind.model_validate_json((folder / name).read_bytes())
    except (OSError, ValueError) as error:
        raise ArtifactMissing(f"{artifact.uri}: holds no {name} of stage {artifact.stage}; delete it") from error


def _write(path: Path, content: BaseModel) -> None:
    # In the order that they have: it is told on.
    path.write_text(json.dumps(content.model_dump(mode="json"), indent=2) + "\n", encoding="utf-8")


class _Meter:
    """Seconds, and the most memory that this process held, since it was made.

    Args:
        make_room: models and graphs lie in reference cycles; those of the stage before may be here still, and go first.
    """

    def __init__(self, make_room: bool) -> None:
        self._started = time.perf_counter()
        if make_room:
            gc.collect()
        try:
            # Linux starts the high-water mark anew; where it may not, the mark is the process's own.
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        except OSError:
            _logger.debug("the high-water mark of memory cannot be reset here")

    def read(self, stage: str) -> StageTiming:
        return StageTiming(
            stage=stage,
            seconds=round(time.perf_counter() - self._started, 3),
            peak_memory_mb=round(_peak_bytes() / 2**20, 1),
            cached=False,
        )


def _peak_bytes() -> int:
    try:
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        _logger.debug("no /proc here: the peak of memory is that of the whole process")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


AnyStage = Stage[Any, Any, Any]
