"""The loop of an evaluation: a model over the images of a dataset, the same for the original and for each target."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from yacs.config import CfgNode

from roastery.data.coco import CocoDataset, ImageRecord
from roastery.data.preprocess import to_input
from roastery.errors import DatasetError, OperatorError, RuntimeFailed
from roastery.evaluation.coco import to_coco_results
from roastery.structures import Instances

Model = Callable[[list[dict[str, Any]]], Sequence[Mapping[str, Any]]]
"""Takes [{"image", "height", "width"}] and gives [{"instances": Instances}]: ReferenceDetector, Caffe2Model."""

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
        milliseconds: for each image that did not fail, the model's call alone, without reading and resizing the image.
        failures: the images that failed; one is enough to fail the gate.
    """

    detections: list[dict[str, Any]]
    milliseconds: tuple[float, ...]
    failures: tuple[FailedImage, ...]


def detect(
    model: Model,
    dataset: CocoDataset,
    image_ids: Sequence[int],
    config: CfgNode,
    category_ids: Sequence[int],
    on_image: Callable[[ImageRecord], None] | None = None,
) -> Detected:
    """Run a model over images of a dataset, one at a time, in the order of `image_ids`.

    Args:
        category_ids: the COCO category of each class index.
        on_image: called after each image, for progress.

    Raises:
        DatasetError: an id that the dataset does not have, or a model that knows more classes than `category_ids`.
        UserError: what stops every image, such as a runtime that is not installed.
    """
    records = {record.id: record for record in dataset.images}
    unknown = [image_id for image_id in image_ids if image_id not in records]
    if unknown:
        raise DatasetError(f"{dataset.annotations}: no image with id {unknown[0]}; sample from this dataset")
    detections: list[dict[str, Any]] = []
    milliseconds: list[float] = []
    failures: list[FailedImage] = []
    for image_id in image_ids:
        record = records[image_id]
        try:
            instances, elapsed = _detect_one(model, record, config)
        except _IMAGE_ERRORS as error:
            failures.append(FailedImage(record.id, record.path.name, _first_line(error)))
        else:
            detections.extend(to_coco_results(record.id, instances, category_ids))
            milliseconds.append(elapsed)
        if on_image is not None:
            on_image(record)
    return Detected(detections, tuple(milliseconds), tuple(failures))


def _detect_one(model: Model, record: ImageRecord, config: CfgNode) -> tuple[Instances, float]:
    inputs = [to_input(record, config)]
    started = time.perf_counter()
    (output,) = model(inputs)
    elapsed = time.perf_counter() - started
    instances: Instances = output["instances"]
    return instances, elapsed * 1000.0


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
