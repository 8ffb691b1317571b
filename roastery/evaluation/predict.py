"""The loop of an evaluation: a model over the images of a dataset, the same for the original and for each target.

While the model has an image, `Helpers` read the next one and write down what was found in the last: masks become run
lengths without being pasted. What is measured of the model is its call alone, and helpers step back behind it.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from yacs.config import CfgNode

from roastery.data.coco import CocoDataset, ImageRecord
from roastery.data.preprocess import to_input
from roastery.data.proposals import ProposalFile
from roastery.errors import DatasetError, OperatorError, RuntimeFailed
from roastery.evaluation.coco import to_coco_results
from roastery.evaluation.helpers import Helpers, helper_threads
from roastery.evaluation.proposals import to_proposal_results
from roastery.evaluation.segments import segment_rows
from roastery.postprocess.masks import pasting_later

Model = Callable[[list[dict[str, Any]]], Sequence[Mapping[str, Any]]]
"""Takes [{"image", "height", "width"}] and gives [{"instances": Instances, ...}], or what else its architecture has, as
`Caffe2Model` says: a Reference, Caffe2Model."""

_BATCHES_TOGETHER = 4

# What one image can raise without the next one having to: an unreadable file, an operator that refuses its input, a
# runtime that died (it starts afresh), PyTorch itself. Anything else is a fault of the program, or of the set-up.
_IMAGE_ERRORS = (DatasetError, OperatorError, RuntimeFailed, RuntimeError, ValueError)


@dataclass(frozen=True)
class FailedImage:
    """An image that a model could not do, with its error's first line."""

    image_id: int
    file: str
    reason: str


@dataclass(frozen=True)
class Detected:
    """What a model found in some images, in their order.

    Attributes:
        detections: COCO results, as `to_coco_results` makes them: boxes xywh in pixels of the original image.
        milliseconds: for each image that did not fail, the model's call alone, without reading and resizing the image,
            and without pasting its masks where the model leaves that for later (a live detectron2 model does not); of
            images that went together each has its share.
        failures: the images that failed; one is enough to fail the gate.
        segments: what a panoptic model gave beside, as `segment_rows` makes it.
    """

    detections: list[dict[str, Any]]
    milliseconds: tuple[float, ...]
    failures: tuple[FailedImage, ...]
    segments: list[dict[str, Any]]


def detect(
    model: Model,
    dataset: CocoDataset,
    image_ids: Sequence[int],
    config: CfgNode,
    category_ids: Sequence[int],
    on_image: Callable[[ImageRecord], None] | None = None,
    batch: int = 1,
    helpers: int | None = None,
) -> Detected:
    """Run a model over images of a dataset in the order of `image_ids`, one at a time or several.

    At most the images that go next are read ahead, and those that went last are written down meanwhile: what is held in
    memory does not grow with the dataset.

    Args:
        category_ids: the COCO category of each class index.
        on_image: called after each image, for progress.
        batch: how many images the model takes at once.
        helpers: threads beside the model's own; default: `helper_threads`. What is found does not depend on it.

    Raises:
        DatasetError: an id that the dataset does not have, or a model that knows more classes than `category_ids`.
        UserError: what stops every image, such as a runtime that is not installed.
    """
    records = {record.id: record for record in dataset.images}
    unknown = [image_id for image_id in image_ids if image_id not in records]
    if unknown:
        raise DatasetError(f"{dataset.annotations}: no image with id {unknown[0]}; sample from this dataset")
    found = _Found()
    # More than one batch, so that images of one size find each other.
    together = 1 if batch == 1 else _BATCHES_TOGETHER * batch
    chosen = [records[image_id] for image_id in image_ids]
    parts = [chosen[start : start + together] for start in range(0, len(chosen), together)]
    reads = [partial(_read, part, config, dataset.proposals) for part in parts]
    with Helpers(helper_threads() if helpers is None else helpers) as beside:
        before: tuple[Sequence[ImageRecord], Callable[[], _Found]] | None = None
        for part, read in zip(parts, beside.ahead(reads), strict=True):
            attempts = list(_attempt(model, part, read, config, dataset.proposals))
            if before is not None:
                found.add(*before, on_image)
            before = part, beside.begin(partial(_written, attempts, dataset, category_ids))
        if before is not None:
            found.add(*before, on_image)
    return Detected(found.detections, tuple(found.milliseconds), tuple(found.failures), found.segments)


@dataclass(frozen=True)
class _Found:
    """As `Detected`, of some of the images."""

    detections: list[dict[str, Any]] = field(default_factory=list)
    milliseconds: list[float] = field(default_factory=list)
    failures: list[FailedImage] = field(default_factory=list)
    segments: list[dict[str, Any]] = field(default_factory=list)

    def add(
        self,
        records: Sequence[ImageRecord],
        written: "Callable[[], _Found]",
        on_image: Callable[[ImageRecord], None] | None,
    ) -> None:
        """What was found in the images that come next, when it is written."""
        more = written()
        self.detections.extend(more.detections)
        self.milliseconds.extend(more.milliseconds)
        self.failures.extend(more.failures)
        self.segments.extend(more.segments)
        if on_image is not None:
            for record in records:
                on_image(record)


@dataclass(frozen=True)
class _Attempt:
    """What a model gave for some images, or why it failed on one."""

    records: Sequence[ImageRecord]
    outputs: Sequence[Mapping[str, Any]] = ()
    milliseconds: float = 0.0
    failure: str | None = None


def _read(records: Sequence[ImageRecord], config: CfgNode, proposals: ProposalFile | None) -> list[dict[str, Any]]:
    return [to_input(record, config, proposals) for record in records]


def _attempt(
    model: Model,
    records: Sequence[ImageRecord],
    read: Callable[[], list[dict[str, Any]]],
    config: CfgNode,
    proposals: ProposalFile | None,
) -> Iterator[_Attempt]:
    try:
        inputs = read()
        started = time.perf_counter()
        with pasting_later():
            outputs = model(inputs)
        elapsed = time.perf_counter() - started
    except _IMAGE_ERRORS as error:
        if len(records) == 1:
            yield _Attempt(records, failure=_first_line(error))
        else:
            # Alone, they show which of them it was.
            for record in records:
                yield from _attempt(model, [record], partial(_read, [record], config, proposals), config, proposals)
    else:
        yield _Attempt(records, outputs, elapsed * 1000.0 / len(records))


def _written(attempts: Sequence[_Attempt], dataset: CocoDataset, category_ids: Sequence[int]) -> _Found:
    """What was found in some images that went one after another."""
    found = _Found()
    for part in attempts:
        if part.failure is not None:
            found.failures.append(FailedImage(part.records[0].id, part.records[0].path.name, part.failure))
            continue
        found.milliseconds.extend([part.milliseconds] * len(part.records))
        for record, output in zip(part.records, part.outputs, strict=True):
            found.detections.extend(_detection_rows(record.id, output, category_ids))
            found.segments.extend(_segment_rows(record, output, dataset))
    return found


def _detection_rows(image_id: int, output: Mapping[str, Any], category_ids: Sequence[int]) -> list[dict[str, Any]]:
    if "proposals" in output:
        return to_proposal_results(image_id, output["proposals"])
    return to_coco_results(image_id, output["instances"], category_ids) if "instances" in output else []


def _segment_rows(record: ImageRecord, output: Mapping[str, Any], dataset: CocoDataset) -> list[dict[str, Any]]:
    truth = dataset.panoptic or dataset.sem_seg
    if "sem_seg" not in output or truth is None:
        return []
    labels = output["sem_seg"].argmax(dim=0).numpy()
    # A model of semantics alone gives no segments.
    ids, segments = output.get("panoptic_seg", (torch.zeros(labels.shape, dtype=torch.int32), []))
    return segment_rows(record.id, ids.numpy(), segments, labels, truth)


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
