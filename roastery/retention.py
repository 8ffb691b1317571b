"""What of a store nobody needs, and its removal.

Needed are the artifacts that registered conversions were made by, those that running flows use, and all that is young.
What is no artifact is not looked at: only `<stage>/<key>/` with a manifest that says the same, and what an interrupted
build left of one. Links are not followed.

An artifact is removed under its build's lease, so that nobody is building it, after one more look at what runs use, its
manifest first, so that no reader trusts the rest. A run that found it in that very moment builds it again.
"""

import re
from collections.abc import Callable, Container, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from roastery.filesystem import Entry
from roastery.stages import STAGES
from roastery.store import MANIFEST, Store
from roastery.uses import RunningUses

RECALL = "recall"
"""Nets that were taken out of the registry to be measured again."""
# Each is a dozen requests to S3, one after another.
_AT_ONCE = 8
_STAGE = re.compile(r"[a-z0-9_]+")
_KEY = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Stored:
    """An artifact in a store, or what an interrupted build, or an interrupted removal, left of one."""

    stage: str
    key: str
    modified: float
    """When it was made, in seconds since 1970."""
    files: dict[str, Entry]
    """What is to be removed: the manifest, and what it names; of what is left of one, all that is there."""
    whole: bool
    """Whether it has a manifest."""

    @property
    def name(self) -> str:
        """As in `ArtifactRef.name`."""
        return f"{self.stage}/{self.key}"

    @property
    def bytes(self) -> int:
        return sum(file.bytes for file in self.files.values())


@dataclass
class Kept:
    """What of a store is kept, and why; counted while it is looked through."""

    needed: int = 0
    young: int = 0


def collectable(store: Store, needed: Container[str], before: float, kept: Kept | None = None) -> Iterator[Stored]:
    """The artifacts that are not needed, and are older than that.

    Args:
        needed: names ("stage/key") of those that are.
        before: seconds since 1970; what was made later is kept.
        kept: counts the others.

    Raises:
        StoreRefused, StoreUnavailable: the store may not be read, or did not answer.
    """
    kept = Kept() if kept is None else kept
    for stage in store.stages():
        if not _STAGE.fullmatch(stage):
            continue
        for key, there in store.folders(stage):
            if not _KEY.fullmatch(key):
                continue
            if f"{stage}/{key}" in needed:
                kept.needed += MANIFEST in there
                continue
            artifact = _stored(store, stage, key, there, before)
            if artifact is None:
                continue
            if artifact.modified < before:
                yield artifact
            else:
                kept.young += artifact.whole


def remove(store: Store, artifact: Stored, uses: RunningUses, agreed: Callable[[], None] = lambda: None) -> bool:
    """Remove what was found collectable, if it is still as it was and no run has come to use it.

    Args:
        agreed: asked last; raises if nothing is to be removed any more.

    Raises:
        StoreRefused, StoreUnavailable: the store may not be written, or did not answer.
    """
    if artifact.name in uses.names():
        # Who builds it now holds the lease for long.
        return False

    def still() -> bool:
        agreed()
        there = store.entries(artifact.stage, artifact.key)
        now = _stored(store, artifact.stage, artifact.key, there, float("inf"))
        return now == artifact and artifact.name not in uses.names()

    return store.remove(artifact.stage, artifact.key, artifact.files, still)


def remove_all(
    store: Store, artifacts: Iterable[Stored], uses: RunningUses, agreed: Callable[[], None]
) -> Iterator[tuple[Stored, bool]]:
    """`remove` each of them, several at a time; gives each with whether it was removed.

    Raises:
        StoreRefused, StoreUnavailable: as `remove`; what has not begun then is left.
    """
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        try:
            futures = [(each, pool.submit(remove, store, each, uses, agreed)) for each in artifacts]
            for each, future in futures:
                yield each, future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _stored(store: Store, stage: str, key: str, there: dict[str, Entry], before: float) -> Stored | None:
    """What lies in an artifact's folder; None where it is somebody else's."""
    manifest = there.get(MANIFEST)
    if manifest is not None:
        if manifest.modified >= before:
            # Not read: it is kept, whatever it says.
            return Stored(stage, key, manifest.modified, {}, whole=True)
        named = store.files_of(stage, key) if manifest.kind == "file" else None
        if named is not None:
            files = {name: there[name] for name in (MANIFEST, *sorted(named)) if name in there}
            files = {name: entry for name, entry in files.items() if entry.kind != "folder"}
            return Stored(stage, key, manifest.modified, files, whole=True)
    # Where a manifest is damaged, the store builds the artifact again: so it is nobody's.
    if stage not in (*STAGES, RECALL) or any(entry.kind != "file" for entry in there.values()):
        return None
    # An empty folder has no age: nothing is lost with it.
    return Stored(stage, key, max((entry.modified for entry in there.values()), default=0.0), there, whole=False)
