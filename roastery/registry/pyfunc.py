"""A converted model as MLflow's pyfunc calls it: images in, a table of detections out."""

import base64
import binascii
import math
import os
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from roastery.data.preprocess import EncodedImage, to_input
from roastery.data.vocabulary import Vocabulary
from roastery.errors import ConfigError, DatasetError, OperatorError, RoasteryError, RuntimeFailed, UserError
from roastery.evaluation.coco import to_coco_results
from roastery.prediction.as_instances import as_instances
from roastery.registry.interface import COLUMNS, THRESHOLD
from roastery.regular_file import require_regular
from roastery.structures import Instances
from roastery.targets.target import ConvertedModel

if TYPE_CHECKING:
    import pandas as pd

_SERVERS = ("mlflow.pyfunc.scoring_server.app", "mlserver")
"""Modules that only a process which answers HTTP requests imports."""

Row = tuple[str, str, float, list[float], dict[str, Any] | None, list[list[float]] | None]


@dataclass(frozen=True)
class _Given:
    """An image, and what the table calls it."""

    name: str
    source: Path | EncodedImage


class Detector:
    """A model that answers from several threads, one after the other.

    Args:
        vocabulary: of the names of classes.
        paths: whether images may be named by a path. A server refuses paths in any case: whoever reaches it could
            have it read any file of its machine.
    """

    def __init__(self, model: ConvertedModel, vocabulary: Vocabulary, paths: bool = True) -> None:
        self._model = model
        self._vocabulary = vocabulary
        self._paths = paths
        self._preparation = model.preparation()
        self._turn = threading.Lock()

    def get_raw_model(self) -> ConvertedModel:
        """What MLflow's `get_raw_model` gives."""
        return self._model

    def predict(self, model_input: Any, params: Mapping[str, Any] | None = None) -> "pd.DataFrame":
        """Detect.

        Args:
            model_input: images, as a table's first column, a series, an array or a list: paths, or image files' bytes.
                In a server, bytes alone, or base64 of them.
            params: `threshold`: what scores less is left out.

        Returns:
            A row for each detection, image by image, in the model's order:

            - `image`: the path as it was given; of bytes, the image's position, from 0, as text;
            - `class`: its name; "class 0" and so on where none is known;
            - `score`: 0..1;
            - `box`: [x0, y0, x1, y1], pixels of the image;
            - `mask`: COCO's run lengths, {"size": [height, width], "counts": text}, or None;
            - `keypoints`: [x, y, score] of each, where a pixel's centre is a whole number as COCO has it, or None.

            An image without detections has no row. Segments that a panoptic model merges are not in it; its things are.
            An RPN's proposals are detections of the class "proposal"; a model of semantics alone has a row for each
            label that occurs, whose score is the mean of its pixels' probability.

        Raises:
            DatasetError: an image that cannot be read or is no image; a class without a name.
            ConfigError: a threshold that is none.
            RuntimeFailed, OperatorError: the model failed; the message names the image.
            MlflowException: in place of these, in a server, which tells their line to the client.
        """
        served = is_served()
        try:
            return self._table(model_input, params or {}, served)
        except RoasteryError as error:
            if not served:
                raise
            from mlflow.exceptions import MlflowException
            from mlflow.protos.databricks_pb2 import BAD_REQUEST, INTERNAL_ERROR

            code = BAD_REQUEST if isinstance(error, UserError) else INTERNAL_ERROR
            raise MlflowException(str(error), error_code=code) from error

    def _table(self, model_input: Any, params: Mapping[str, Any], served: bool) -> "pd.DataFrame":
        import pandas as pd

        threshold = _threshold(params.get(THRESHOLD, 0.0))
        images = [self._given(value, place, served) for place, value in enumerate(_values(model_input))]
        rows: list[Row] = []
        for start in range(0, len(images), self._model.batch):
            rows += self._rows(images[start : start + self._model.batch], threshold)
        # An empty table has these kinds of columns, too.
        kinds = {"image": "str", "class": "str", "score": "float64"}
        columns: Sequence[Sequence[Any]] = list(zip(*rows, strict=True)) or [()] * len(COLUMNS)
        return pd.DataFrame(
            {
                name: pd.Series(list(column), dtype=kinds.get(name, "object"))
                for name, column in zip(COLUMNS, columns, strict=True)
            }
        )

    def _given(self, value: Any, place: int, served: bool) -> _Given:
        """What a value means; nothing is read yet."""
        image = f"image {place}"
        if served:
            return _Given(str(place), EncodedImage(image, _sent(value, image)))
        if isinstance(value, bytes | bytearray | memoryview):
            return _Given(str(place), EncodedImage(image, bytes(value)))
        if not isinstance(value, str | os.PathLike):
            raise DatasetError(f"{image}: is of type {type(value).__name__}; give a path, or an image file's bytes")
        if not self._paths:
            raise DatasetError(f"{image}: paths are not read here; give an image file's bytes")
        path = os.fsdecode(value)
        return _Given(path, Path(path))

    def _rows(self, images: Sequence[_Given], threshold: float) -> Iterator[Row]:
        inputs = [self._input(image.source) for image in images]
        try:
            with self._turn:
                answers = self._model(inputs)
        except (RuntimeFailed, OperatorError) as error:
            raise type(error)(f"{', '.join(str(image.source) for image in images)}: {error}") from error
        for image, answer in zip(images, answers, strict=True):
            yield from self._detections(image.name, *as_instances(answer, self._vocabulary), threshold)

    def _input(self, source: Path | EncodedImage) -> dict[str, Any]:
        if isinstance(source, Path):
            try:
                # Reading a pipe would wait without end.
                require_regular(source)
            except FileNotFoundError:
                raise DatasetError(f"{source}: no such image; correct the path") from None
            except OSError as error:
                raise DatasetError(
                    f"{source}: cannot be read as an image ({error.strerror}); name an image file"
                ) from None
        return to_input(source, self._preparation)

    def _detections(self, image: str, found: Instances, vocabulary: Vocabulary, threshold: float) -> Iterator[Row]:
        classes = found.pred_classes.tolist()
        names = [vocabulary.name(label) for label in classes]
        results = to_coco_results(0, found, vocabulary.categories(classes))
        for name, box, result in zip(names, found.pred_boxes.tensor.tolist(), results, strict=True):
            if result["score"] >= threshold:
                flat = result.get("keypoints")
                points = None if flat is None else [flat[start : start + 3] for start in range(0, len(flat), 3)]
                yield image, name, result["score"], box, result.get("segmentation"), points


def is_served() -> bool:
    """Whether this process answers requests of others, or MLflow tries what that would give.

    MLflow's scoring server says so in the environment before it answers; it and MLServer are known by their modules,
    too.
    """
    from mlflow.environment_variables import _MLFLOW_IS_IN_SERVING_ENVIRONMENT

    return bool(_MLFLOW_IS_IN_SERVING_ENVIRONMENT.get()) or any(module in sys.modules for module in _SERVERS)


def _values(model_input: Any) -> list[Any]:
    """The images of whatever MLflow hands over: it makes a table of most things, where it knows the signature."""
    import pandas as pd

    if isinstance(model_input, pd.DataFrame):
        if model_input.shape[1] == 0:
            raise DatasetError("a table without a column; give one column, image")
        return list(model_input.iloc[:, 0])
    if isinstance(model_input, str | bytes | bytearray | memoryview | os.PathLike):
        return [model_input]
    try:
        return list(model_input)
    except TypeError:
        kind = type(model_input).__name__
        raise DatasetError(f"images are of type {kind}; give a list of paths or of image files' bytes") from None


def _sent(value: Any, image: str) -> bytes:
    """The bytes that a client sent. MLflow decodes base64 of some of its forms of JSON, of others it hands it on."""
    if isinstance(value, str):
        try:
            value = value.encode("ascii")
        except UnicodeEncodeError:
            value = b""
    if not isinstance(value, bytes | bytearray | memoryview):
        raise DatasetError(f"{image}: is of type {type(value).__name__}; send an image file's bytes in base64")
    content = bytes(value)
    try:
        # No image file of the formats that are read is base64 itself: each begins with what base64 has not.
        return base64.b64decode(b"".join(content.split()), validate=True)
    except binascii.Error:
        return content


def _threshold(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ConfigError(f"{THRESHOLD} is {value!r}; give a finite number, such as 0.5")
    return float(value)
