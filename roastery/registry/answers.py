"""What the registry answers: small, frozen, JSON."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict

from roastery.registry.aliases import Move


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True)


class ModelAnswer(_Answer):
    """A model in short: its newest source, and its newest converted version as it was measured last."""

    model: str
    source_version: int | None = None
    """Of the newest registered source; None where it was converted from files that were never registered."""
    target: str | None = None
    """What it was converted to; a model of several targets has an answer for each."""
    converted_version: int | None = None
    verdict: Literal["passed", "failed"] | None = None
    judged_by: str | None = None
    ap: dict[str, float | None] = {}
    """IoU type to AP of the converted model, 0..100 (PQ of "panoptic_seg", mIoU of "sem_seg")."""
    ap_original: dict[str, float | None] = {}
    ap_delta: dict[str, float | None] = {}
    """Converted minus original."""
    aliases: tuple[str, ...] = ()
    """Of that version."""
    stale: tuple[str, ...] = ()
    """Why it would be converted anew: made of other weights or config than the newest source, by another Roastery."""
    family: str | None = None
    dataset: str | None = None
    registered_at: datetime | None = None
    """When its newest source was registered. UTC, as all times."""
    converted_at: datetime | None = None
    measured_at: datetime | None = None
    """When that version was measured last."""
    run_id: str | None = None
    model_id: str | None = None
    """MLflow's logged model, which the figures belong to."""


class VersionAnswer(_Answer):
    """All that is known of a converted version."""

    name: str
    version: int
    summary: ModelAnswer
    aliases: tuple[str, ...]
    tags: dict[str, str]
    metrics: dict[str, float]
    """The latest of each."""
    settings: dict[str, str]
    """What it was made with and asked for."""
    files: dict[str, int | None]
    """Name to bytes; None where that is not on record."""
    operators: dict[str, int]
    """Type to count, of the converted model's graph."""
    run_url: str
    command: str
    """What makes the same files again."""
    links: dict[str, str]


class VersionsDiff(_Answer):
    """Two versions of a model beside each other. Of what is the same in both, nothing is said."""

    name: str
    versions: tuple[int, int]
    metrics: dict[str, tuple[float | None, float | None]]
    operators: dict[str, tuple[int, int]]
    files: dict[str, tuple[int | None, int | None]]
    """Name to bytes, of files that differ in their bytes."""
    settings: dict[str, tuple[str | None, str | None]]
    pictures: dict[str, tuple[str | None, str | None]]
    """Name of a report's picture to where each version's lies."""


class Event(_Answer):
    """Something that happened to a model."""

    at: datetime
    kind: Literal["registered", "converted", "measured again", "alias"]
    version: int | None
    said: str
    by: str | None = None
    move: Move | None = None


class Fetched(_Answer):
    """A converted model in a folder, verified."""

    name: str
    version: int
    folder: str
    files: dict[str, str]
    """Name to sha256."""
