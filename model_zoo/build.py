"""A config of the zoo as a small detector with weights by chance, and images to hold its nets to the reference on."""

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from yacs.config import CfgNode

from model_zoo.configs import as_overrides
from model_zoo.families import Settings
from model_zoo.margins import watched
from model_zoo.seeds import SEEDS
from model_zoo.small import small
from model_zoo.variants import MODELS
from model_zoo.weights import randomise
from roastery.config import class_count, load_config
from roastery.detectors.detector import Detector
from roastery.reference.build import build_reference
from roastery.sources.native import build_detector
from roastery.structures import Boxes, Instances

# Height and width: square, wide and tall; none is padded to the size that is traced, and of none is the whole image
# such a box that the number of points in its bins would hang on a digit (multiples of 28 pixels).
SIZES = ((240, 240), (118, 210), (230, 101))
_PROPOSALS = 16
_FEWEST = 4
_FEWEST_KINDS = 3
_OF_DATA = ("DATASETS.", "INPUT.")


@dataclass(frozen=True)
class SmallModel:
    """A detector, the config that it was built from, and detectron2's input dicts for it, one of each size."""

    config: CfgNode
    detector: Detector
    inputs: list[dict[str, Any]]


def distinct() -> Mapping[str, list[str]]:
    """The models that differ, each with all that come to the same: schedules, losses and data aside."""
    alike: dict[str, list[str]] = {}
    for name, settings in MODELS.items():
        alike.setdefault(repr(_of_model(settings)), []).append(name)
    return {names[0]: names for names in alike.values()}


def load_settings(settings: Settings) -> CfgNode:
    """The whole config of some settings."""
    with tempfile.NamedTemporaryFile(suffix=".yaml") as empty:
        return load_config(Path(empty.name), as_overrides(settings))


def build_small(name: str, seed: int | None = None) -> SmallModel:
    """The small model of a config of the zoo, with the seed of `SEEDS` or another.

    Raises:
        ConfigError: the config cannot be converted.
    """
    config = load_settings(small(_of_model(MODELS[name])))
    detector = build_detector(config).requires_grad_(False)
    seed = SEEDS.get(name, 0) if seed is None else seed
    chance = np.random.default_rng(seed)
    inputs = [_input(chance, *size) for size in SIZES]
    if config.MODEL.LOAD_PROPOSALS:
        for single, size in zip(inputs, SIZES, strict=True):
            single["proposals"] = _proposals(chance, *size)
    randomise(detector, config, inputs[0], seed)
    return SmallModel(config, detector, inputs)


def answers_of(model: SmallModel, times: float = 1.0) -> tuple[list[dict[str, Any]], list[str]]:
    """The reference's answers for the model's inputs, and why they prove little: too few found, or decided narrowly.

    Args:
        times: how many times the least distance a decision must have.
    """
    with watched(times) as decisions:
        answers = build_reference(model.config, model.detector)(model.inputs)
    return answers, [*decisions.too_near(), *_too_few(answers, class_count(model.config))]


def _too_few(answers: list[dict[str, Any]], classes: int | None) -> Iterator[str]:
    for kind in ("instances", "proposals"):
        counts = [len(answer[kind]) for answer in answers if kind in answer]
        if counts and min(counts) < _FEWEST:
            yield f"{kind}: {counts}, less than {_FEWEST}"
    kinds: dict[str, set[int]] = {}
    for answer in answers:
        if "instances" in answer and classes != 1:
            kinds.setdefault("classes", set()).update(answer["instances"].pred_classes.tolist())
        if "sem_seg" in answer:
            kinds.setdefault("labels", set()).update(answer["sem_seg"].argmax(dim=0).unique().tolist())
        if "panoptic_seg" in answer:
            segments = answer["panoptic_seg"][1]
            for thing, kind in ((True, "things"), (False, "stuff")):
                found = kinds.setdefault(kind, set())
                found.update(segment["id"] for segment in segments if segment["isthing"] is thing)
    for kind, found in kinds.items():
        if len(found) < _FEWEST_KINDS:
            yield f"{kind}: {len(found)}, less than {_FEWEST_KINDS}"


def _of_model(settings: Settings) -> Settings:
    return {key: value for key, value in settings.items() if not key.startswith(_OF_DATA)}


def _input(chance: np.random.Generator, height: int, width: int) -> dict[str, Any]:
    """A picture of plain and shaded rectangles, of an original image of another size."""
    pixels = np.full((3, height, width), 128.0)
    for _ in range(24):
        top, left = chance.integers(0, height - 20), chance.integers(0, width - 20)
        down, across = chance.integers(20, 120, 2)
        part = pixels[:, top : top + down, left : left + across]
        shade = np.linspace(0.5, 1, part.shape[2]) if chance.integers(2) else 1.0
        part[:] = chance.integers(0, 256, (3, 1, 1)) * shade
    # Where features are the same to the digit, scores are tied.
    pixels = (pixels + chance.normal(0, 3, pixels.shape)).round().clip(0, 255)
    image = torch.from_numpy(pixels.astype(np.float32))
    return {"image": image, "height": height * 3 // 2, "width": width * 3 // 2}


def _proposals(chance: np.random.Generator, height: int, width: int) -> Instances:
    """Boxes by chance, for a model that takes its proposals from elsewhere."""
    corners = chance.uniform(0, (width - 20, height - 20), (_PROPOSALS, 2))
    sides = chance.uniform(20, 120, (_PROPOSALS, 2))
    boxes = np.concatenate([corners, np.minimum(corners + sides, (width, height))], axis=1)
    return Instances(
        (height, width),
        proposal_boxes=Boxes(torch.from_numpy(boxes.astype(np.float32))),
        objectness_logits=torch.linspace(4, -4, _PROPOSALS),
    )
