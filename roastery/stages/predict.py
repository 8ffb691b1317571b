"""Predict: the detections of the original, or of the converted model in a runtime, on one shard of the images."""

import gc
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from roastery.digest import JSON
from roastery.errors import RuntimeFailed
from roastery.results import ArtifactRef, Finder, PinnedDataset, ResolvedModel, StageResult, StageTiming
from roastery.spec import DatasetSpec
from roastery.stages.dataset import load_evaluated
from roastery.stages.stage import Facts, Request, Stage
from roastery.store import Store
from roastery.targets import module_of, runtimes

DETECTIONS_FILE = "detections.json"
"""The shard's detections, as COCO's results: boxes xywh in pixels of the original image."""
SEGMENTS_FILE = "segments.json"
"""Of a panoptic model: segments and semantic labels, as `evaluation.segments` makes rows of them."""
LATENCIES_FILE = "latencies.json"
"""Milliseconds of each image that did not fail, the model's call alone."""

Model = Callable[[list[dict[str, Any]]], Sequence[Mapping[str, Any]]]


class PredictRequest(Request):
    """Detect on shard `shard` (counted from 1) of `shards`: every `shards`-th image of the dataset."""

    stage = "predict"
    packages = ("torch", "numpy", "Pillow", "pycocotools")

    finder: Finder
    shard: int
    shards: int
    resolved: ResolvedModel
    dataset: DatasetSpec
    pinned: PinnedDataset
    converted: ArtifactRef | None = None
    occasion: str = ""
    """Detections of one occasion do not serve for another: so a re-evaluation measures anew."""

    @property
    def label(self) -> str:
        return f"{self.stage}-{self.finder}-{self.shard}-of-{self.shards}"

    def inputs(self) -> Mapping[str, JSON]:
        model: dict[str, JSON] = {"source_sha256": self.resolved.source_sha256}
        identity: JSON = None
        if self.finder != "original":
            # The net alone: that it was compared in another runtime too does not change what it detects.
            target = runtimes()[self.finder]
            model = {name: self.net().files[name] for name in target.files}
            identity = target.identity(self.finder)
        return {
            "finder": self.finder,
            "model": model,
            "config_sha256": self.resolved.config_sha256,
            "dataset_sha256": self.pinned.sha256,
            "shard": [self.shard, self.shards],
            "runtime": identity,
            "occasion": self.occasion,
        }

    def modules(self) -> tuple[str, ...]:
        if self.finder == "original":
            return super().modules()
        return (*super().modules(), module_of(runtimes()[self.finder].name))

    def distributions(self) -> tuple[str, ...]:
        own = () if self.finder == "original" else runtimes()[self.finder].packages
        return tuple(dict.fromkeys((*self.packages, *own)))

    def net(self) -> ArtifactRef:
        """The converted model, which every finder but the original needs."""
        if self.converted is None:
            raise ValueError(f"finder {self.finder!r} needs a converted model")
        return self.converted


class PredictFacts(Facts):
    """What was detected, and which images failed and why."""

    images: int
    detections: int
    failures: tuple[str, ...]
    failed_ids: tuple[int, ...]


class PredictResult(StageResult):
    """Detections of one shard by one finder."""

    facts: PredictFacts


def run(request: PredictRequest, store: Store, directory: Path) -> PredictFacts:
    """Write `detections.json`, `latencies.json` and, of a panoptic model, `segments.json`.

    An image that raises, or whose detections are no numbers, is recorded as failed, and the gate fails on it. One on
    which the runtime died is tried once more, in a runtime that starts afresh.

    Raises:
        DatasetError: the dataset has fewer categories than the model has classes, or is not as it was pinned.
        Caffe2Unavailable: genuine Caffe2 is wanted and is not there.
    """
    from roastery.evaluation.predict import detect
    from roastery.stages.pinned import read_pinned_config

    config = read_pinned_config(request.resolved, store)
    dataset = load_evaluated(request.dataset, request.pinned)
    image_ids = [record.id for record in dataset.images][request.shard - 1 :: request.shards]
    model = _model(request, store)
    batch = getattr(model, "batch", 1)
    detected = detect(_twice(model), dataset, image_ids, config, dataset.category_ids, batch=batch)
    failures = [f"{failure.file}: {failure.reason}" for failure in detected.failures]
    broken = {result["image_id"] for result in detected.detections if not _is_finite(result)}
    names = {record.id: record.path.name for record in dataset.images}
    failures += [f"{names[image_id]}: a detection that is no number" for image_id in sorted(broken)]
    detections = [result for result in detected.detections if result["image_id"] not in broken]
    (directory / DETECTIONS_FILE).write_text(json.dumps(detections, allow_nan=False), encoding="utf-8")
    (directory / LATENCIES_FILE).write_text(json.dumps(list(detected.milliseconds)), encoding="utf-8")
    if detected.segments:
        (directory / SEGMENTS_FILE).write_text(json.dumps(detected.segments), encoding="utf-8")
    return PredictFacts(
        images=len(image_ids),
        detections=len(detections),
        failures=tuple(failures),
        failed_ids=tuple(sorted(broken | {failure.image_id for failure in detected.failures})),
    )


def _is_finite(result: Mapping[str, Any]) -> bool:
    return all(math.isfinite(value) for value in (result["score"], *result["bbox"], *result.get("keypoints", ())))


def _twice(model: Model) -> Model:
    """The model, given a second chance where its runtime died: that need not have been the image's fault."""

    def detect(inputs: list[dict[str, Any]]) -> Sequence[Mapping[str, Any]]:
        try:
            return model(inputs)
        except RuntimeFailed:
            return model(inputs)

    return detect


class _Loaded:
    """The model that this process has loaded last: the shards of a target come one after another."""

    key: tuple[str, ...] = ()
    model: Any = None


_loaded = _Loaded()


def _model(request: PredictRequest, store: Store) -> Model:
    digests = request.inputs()["model"]
    key = (request.finder, request.resolved.config_sha256, json.dumps(digests, sort_keys=True))
    if _loaded.key != key:
        unload()
        _loaded.model = _load_original(request, store) if request.finder == "original" else _load_net(request, store)
        _loaded.key = key
    model: Model = _loaded.model
    return model


def unload() -> None:
    """Let go of the loaded model, and end the runtime that it may have started."""
    close = getattr(_loaded.model, "close", None)
    _loaded.key, _loaded.model = (), None
    # It lies in reference cycles, weights and all.
    gc.collect()
    if close is not None:
        close()


def _load_original(request: PredictRequest, store: Store) -> Any:
    from roastery.stages.pinned import open_pinned
    from roastery.weights.fetch import local_weights

    sha256 = request.resolved.source_sha256
    loaded = open_pinned(request.resolved, store).load(local_weights(request.resolved.weights, sha256), sha256)
    return loaded.original


def _load_net(request: PredictRequest, store: Store) -> Any:
    return runtimes()[request.finder].load(store.fetch(request.net()), request.finder)


def _result(artifact: ArtifactRef, timing: StageTiming, facts: PredictFacts) -> PredictResult:
    return PredictResult(artifact=artifact, timing=timing, facts=facts)


STAGE = Stage(PredictRequest, PredictFacts, _result, run)
