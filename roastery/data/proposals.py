"""Precomputed proposals: detectron2's files of them, and what a detector takes of one for an image.

Source: detectron2 0.5, data/build.py (load_proposals_into_dataset) and data/detection_utils.py (transform_proposals).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from yacs.config import CfgNode

from roastery.digest import file_sha256
from roastery.errors import DatasetError
from roastery.pickled_array import PickleDamagedError, PickleRefusedError
from roastery.regular_file import require_regular
from roastery.safe_pickle import read_pickle
from roastery.structures import Boxes, Instances

_OLD_NAMES = {"indexes": "ids", "scores": "objectness_logits"}
_XYXY, _XYWH = 0, 1
"""detectron2's numbers of how a box is written."""


@dataclass(frozen=True)
class ProposalFile:
    """Proposals of images, in pixels of the original images.

    Attributes:
        boxes: image id to (n, 4) float32 xyxy, by falling objectness.
        logits: image id to (n,) float32.
    """

    path: Path
    boxes: Mapping[int, NDArray[np.float32]]
    logits: Mapping[int, NDArray[np.float32]]

    @cached_property
    def digest(self) -> str:
        """sha256 of the file."""
        return file_sha256(self.path)

    def of_image(
        self, image_id: int, original: tuple[int, int], resized: tuple[int, int], config: CfgNode
    ) -> Instances:
        """What a detector takes of an image that was resized.

        Args:
            original, resized: height and width.
            config: says how many are taken, and of what size at least.

        Returns:
            Instances of the resized image with proposal_boxes and objectness_logits, by falling objectness.

        Raises:
            DatasetError: the file has no proposals of that image.
        """
        if image_id not in self.boxes:
            raise DatasetError(f"{self.path}: has no proposals of image {image_id}; make them for this dataset")
        boxes, logits = Boxes(torch.from_numpy(self.boxes[image_id]).clone()), torch.from_numpy(self.logits[image_id])
        boxes.scale(resized[1] / original[1], resized[0] / original[0])
        boxes.clip(resized)
        kept = boxes.nonempty(config.MODEL.PROPOSAL_GENERATOR.MIN_SIZE)
        most = config.DATASETS.PRECOMPUTED_PROPOSAL_TOPK_TEST
        return Instances(resized, proposal_boxes=boxes[kept][:most], objectness_logits=logits[kept][:most])


def load_proposals(path: Path) -> ProposalFile:
    """A file that detectron2's COCOEvaluator wrote (`box_proposals.pkl`), or one of its model zoo.

    Nothing in it is executed.

    Raises:
        DatasetError: the file is missing, damaged, asks for code to be run, or holds no proposals.
    """
    try:
        require_regular(path)
        with path.open("rb") as file:
            content = read_pickle(file, path.stat().st_size)
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror}); give a pickle of proposals") from None
    except (PickleDamagedError, PickleRefusedError) as error:
        raise DatasetError(f"{path}: {error}; give a pickle of proposals as detectron2 writes it") from None
    if isinstance(content, Mapping):
        content = {_OLD_NAMES.get(key, key): value for key, value in content.items()}
    names = ("ids", "boxes", "objectness_logits")
    lists: list[Any] = [content.get(name) for name in names] if isinstance(content, Mapping) else []
    if not lists or not all(isinstance(each, list | tuple) and len(each) == len(lists[0]) for each in lists):
        raise DatasetError(f"{path}: holds no lists of one length under {', '.join(names)}; it is no file of proposals")
    mode = content.get("bbox_mode", _XYXY)
    if mode not in (_XYXY, _XYWH):
        raise DatasetError(f"{path}: its bbox_mode is {str(mode)[:20]!r}; write boxes as 0, xyxy, or 1, xywh")
    boxes: dict[int, NDArray[np.float32]] = {}
    logits: dict[int, NDArray[np.float32]] = {}
    for name, of_image, scores in zip(*lists, strict=True):
        image_id = _image_id(name, path)
        found, objectness = _checked(of_image, scores, image_id, path)
        if mode == _XYWH:
            found[:, 2:] += found[:, :2]
        order = np.argsort(-objectness, kind="stable")
        boxes[image_id], logits[image_id] = found[order], objectness[order]
    return ProposalFile(path, boxes, logits)


def drawn_proposals(size: tuple[int, int], seed: int, count: int = 50) -> Instances:
    """Boxes all over an image of a height and width, of any size from 8 pixels on: to compare nets on, no more."""
    generator, sides = np.random.default_rng(seed), np.array([size[1], size[0]], np.float64)
    extents = np.minimum(8.0 + generator.random((count, 2)) ** 2 * sides, sides)
    corners = generator.random((count, 2)) * (sides - extents)
    boxes = torch.from_numpy(np.concatenate([corners, corners + extents], axis=1).astype(np.float32))
    return Instances(size, proposal_boxes=Boxes(boxes), objectness_logits=torch.zeros(count))


def _image_id(name: Any, path: Path) -> int:
    # numpy's whole numbers, and detectron2's texts of them.
    try:
        return int(name)
    except (TypeError, ValueError, OverflowError):
        raise DatasetError(f"{path}: has proposals of {str(name)[:40]!r}, which is no image's id") from None


def _checked(boxes: Any, logits: Any, image_id: int, path: Path) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    arrays: list[NDArray[np.float32]] = []
    for value in (boxes, logits):
        if not isinstance(value, np.ndarray | Sequence):
            raise DatasetError(f"{path}: the proposals of image {image_id} are no arrays; make them anew")
        try:
            arrays.append(np.array(value, np.float32))
        except (TypeError, ValueError):
            raise DatasetError(f"{path}: the proposals of image {image_id} are no numbers; make them anew") from None
    found, objectness = arrays[0] if arrays[0].size else arrays[0].reshape(-1, 4), arrays[1].reshape(-1)
    if found.ndim != 2 or found.shape != (len(objectness), 4):
        raise DatasetError(f"{path}: image {image_id} has boxes {arrays[0].shape} for {len(objectness)} scores")
    if not (np.isfinite(found).all() and np.isfinite(objectness).all()):
        raise DatasetError(f"{path}: image {image_id} has NaN or infinity in its proposals; make them anew")
    return found, objectness
