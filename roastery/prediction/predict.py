"""The loop of a prediction: one image after the other, each with its picture, and the results of all at the end."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yacs.config import CfgNode

from roastery.data.preprocess import read_image, to_input
from roastery.data.vocabulary import Vocabulary
from roastery.errors import DatasetError, OperatorError, RuntimeFailed
from roastery.evaluation.coco import to_coco_results
from roastery.evaluation.predict import Model
from roastery.prediction.as_instances import as_instances
from roastery.prediction.images import PANOPTIC, PICTURE, picture_stems
from roastery.prediction.output import check_pictures, check_results, save_picture, save_results
from roastery.prediction.picture import draw_found, panoptic_png
from roastery.regular_file import require_regular


@dataclass(frozen=True)
class Wanted:
    """What is to be written.

    Attributes:
        output: the folder of the pictures; none are drawn where it is None.
        results: the file of COCO results of all detections; none are written where it is None.
        threshold: what scores less is not drawn.
    """

    output: Path | None
    results: Path | None
    threshold: float = 0.5


@dataclass(frozen=True)
class Predicted:
    """An image that is done.

    Attributes:
        picture: where its picture lies, if one was drawn.
        detections: how many the model gave.
        drawn: how many detections, or segments of a panoptic model, are in the picture.
        milliseconds: of the model's call alone; the first starts the runtime, too.
    """

    image: Path
    picture: Path | None
    detections: int
    drawn: int
    milliseconds: float


@dataclass(frozen=True)
class Unread:
    """An image that could not be read, and why: a line that names it."""

    image: Path
    reason: str


def predict(
    model: Model,
    images: Sequence[Path],
    config: CfgNode,
    vocabulary: Vocabulary,
    wanted: Wanted,
    on_image: Callable[[Predicted | Unread], None],
) -> None:
    """Run a model over images, and write what it found.

    Each file is there whole or not at all: pictures as they are drawn, the results when all images are done. Images
    that cannot be read are passed over.

    Args:
        config: what `to_input` asks of one; `preparation` makes it.
        on_image: called after each image.

    Raises:
        OutputError: a place that cannot be written to, or that holds what is not ours.
        DatasetError: a class that the vocabulary does not have; with results, an image whose id is not known.
        RuntimeFailed, OperatorError: the model failed; the message names the image.
    """
    stems = picture_stems(images)
    ids = list(range(1, len(images) + 1))
    if wanted.results is not None:
        ids = image_ids(images, vocabulary)
        check_results(wanted.results)
    if wanted.output is not None:
        suffixes = (PICTURE,) if wanted.results is None else (PICTURE, PANOPTIC)
        check_pictures(wanted.output, (f"{stem}{suffix}" for stem in stems for suffix in suffixes))
    results: list[dict[str, Any]] = []
    read = 0
    for image, stem, image_id in zip(images, stems, ids, strict=True):
        try:
            single = _read(image, config)
        except DatasetError as error:
            on_image(Unread(image, str(error)))
            continue
        read += 1
        started = time.perf_counter()
        try:
            (found,) = model([single])
        except (RuntimeFailed, OperatorError) as error:
            raise type(error)(f"{image}: {error}") from error
        milliseconds = (time.perf_counter() - started) * 1000.0
        instances, named = as_instances(found, vocabulary)
        classes = instances.pred_classes.tolist()
        for index in sorted(set(classes)):
            named.name(index)
        if wanted.results is not None:
            results += to_coco_results(image_id, instances, named.categories(classes))
        picture, drawn = None, 0
        if wanted.output is not None:
            picture = wanted.output / f"{stem}{PICTURE}"
            drawing, drawn = draw_found(read_image(image, "RGB"), found, vocabulary, wanted.threshold)
            save_picture(drawing, picture)
            if wanted.results is not None and "panoptic_seg" in found:
                save_picture(panoptic_png(found["panoptic_seg"][0]), wanted.output / f"{stem}{PANOPTIC}")
        on_image(Predicted(image, picture, len(classes), drawn, milliseconds))
    if wanted.results is not None and read:
        save_results(results, wanted.results)


def image_ids(images: Sequence[Path], vocabulary: Vocabulary) -> list[int]:
    """The id of each image: that of the annotations' longest file name that its path ends with.

    Where the vocabulary knows no images, they count from 1.

    Raises:
        DatasetError: an image that the annotations do not have, or two that they have as one.
    """
    if not vocabulary.image_ids:
        return list(range(1, len(images) + 1))
    known: dict[int, Path] = {}
    for image in images:
        parts = image.absolute().parts
        tails = ("/".join(parts[start:]) for start in range(len(parts)))
        image_id = next((vocabulary.image_ids[tail] for tail in tails if tail in vocabulary.image_ids), None)
        if image_id is None:
            raise DatasetError(f"{image}: is not in {vocabulary.source}; name an image of it, or leave out --json")
        if image_id in known:
            raise DatasetError(f"{image}: is image {image_id} of {vocabulary.source}, as {known[image_id]}; name one")
        known[image_id] = image
    return list(known)


def _read(image: Path, config: CfgNode) -> dict[str, Any]:
    try:
        # Reading a pipe would wait without end.
        if image.exists():
            require_regular(image)
    except OSError as error:
        raise DatasetError(f"{image}: cannot be read as an image ({error.strerror}); name an image file") from None
    return to_input(image, config)
