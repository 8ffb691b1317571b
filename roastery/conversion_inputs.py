"""What `roastery convert` starts from beside the config: a checkpoint, a dataset, images to compare on."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from yacs.config import CfgNode

from roastery.data.builtin import is_there, named_dataset, names_like
from roastery.data.dataset import load_sampled_from
from roastery.data.preprocess import resize_shortest_edge, to_input
from roastery.data.proposals import drawn_proposals
from roastery.data.sampling import sample_images
from roastery.errors import CheckpointError, ConfigError, DatasetError
from roastery.home import at_home
from roastery.spec import DatasetSpec, registered_datasets
from roastery.weights.address import is_address
from roastery.weights.fetch import Fetching, local_weights, silently

SAMPLED = 4
SEED = 0


def find_weights(name: str, config_file: Path, fetching: Fetching = silently) -> Path:
    """The checkpoint that the config names, relative to the working directory, else to the config's folder; fetched, if
    it is an address.

    Raises:
        ConfigError: it is not set.
        CheckpointError: no such file, or an address that leads to none.
        WeightsUnavailable: the address did not answer.
        DiskFull, OutputError: what is fetched cannot be written.
    """
    if not name:
        raise ConfigError(
            f"{config_file}: MODEL.WEIGHTS is not set; end the command with MODEL.WEIGHTS model_final.pkl"
        )
    if is_address(name):
        return local_weights(name, fetching=fetching)
    places = [at_home(name), config_file.parent / name]
    for place in places:
        # `Path.is_file` fails where the name is too long for any file.
        if os.path.isfile(place):  # noqa: PTH113
            return place
    elsewhere = f" (nor in {config_file.parent})" if places[0] != places[1] and not places[0].is_absolute() else ""
    raise CheckpointError(f"{places[0]}: no such checkpoint{elsewhere}; end the command with MODEL.WEIGHTS path")


def find_dataset(config: CfgNode, folder: Path, required: bool) -> DatasetSpec | None:
    """The dataset that the config's first DATASETS.TEST names, registered or one of detectron2's; None without one.

    Raises:
        ConfigError: `required`, and there is none; a spec that is not one.
        CheckpointError, WeightsUnavailable: the address of its proposals leads to none, or did not answer.
    """
    names = config.DATASETS.TEST
    specs = registered_datasets(folder)
    name = names[0] if names and isinstance(names[0], str) else ""
    spec = named_dataset(name, specs)
    if spec is not None and required:
        return _with_its_proposals(spec, config)
    if spec is not None:
        return spec if name in specs or is_there(spec) else None
    if not required:
        return None
    if not names:
        raise ConfigError(
            "DATASETS.TEST is empty: nothing to evaluate on; end the command with DATASETS.TEST \"('name',)\""
        )
    known = (
        f"it has {', '.join(specs)}" if specs else "there is no such folder" if not folder.is_dir() else "it is empty"
    )
    raise ConfigError(
        f"DATASETS.TEST: no dataset {names[0]!r} in {folder} ({known}), nor in detectron2{names_like(name, specs)}; "
        "register it there as YAML with name, images and annotations"
    )


def _with_its_proposals(spec: DatasetSpec, config: CfgNode) -> DatasetSpec:
    """The dataset with the config's DATASETS.PROPOSAL_FILES_TEST, where the model takes proposals and it names none."""
    files = config.DATASETS.PROPOSAL_FILES_TEST
    if not config.MODEL.LOAD_PROPOSALS or spec.proposals is not None or not files:
        return spec
    file = str(files[0])
    return spec.model_copy(update={"proposals": local_weights(file) if is_address(file) else at_home(file)})


def sample_inputs(
    config: CfgNode, spec: DatasetSpec | None, images: Sequence[Path] = ()
) -> tuple[list[Mapping[str, Any]], str]:
    """Inputs to compare the net with the detector on, and where they are from.

    Returns:
        Detectron2's input dicts: of `images`, else of a few images of the dataset, else of one drawn here.

    Raises:
        DatasetError: an image or a dataset that cannot be read.
    """
    if images:
        given = f"{len(images)} given image{'s' if len(images) > 1 else ''}"
        return _with_proposals([to_input(path, config) for path in images], config), given
    if spec is not None:
        dataset = load_sampled_from(spec)
        records = sample_images(dataset, SAMPLED, SEED)
        of_images = f"{len(records)} images of {spec.name}"
        if config.MODEL.LOAD_PROPOSALS and dataset.proposals is None:
            return _with_proposals([to_input(record.path, config) for record in records], config), of_images
        return [to_input(record, config, dataset.proposals) for record in records], of_images
    return _with_proposals([{"image": _drawn(config)}], config), "one drawn image (name others with --sample-image)"


def _with_proposals(inputs: Sequence[Mapping[str, Any]], config: CfgNode) -> list[Mapping[str, Any]]:
    """Inputs with drawn boxes, where the model takes proposals: any will do to compare nets on."""
    if not config.MODEL.LOAD_PROPOSALS:
        return list(inputs)
    return [{**single, "proposals": drawn_proposals(single["image"].shape[1:], SEED)} for single in inputs]


def _drawn(config: CfgNode) -> torch.Tensor:
    """An image with edges and plain areas: no model was trained for it, but every operator has work to do."""
    generator = np.random.default_rng(SEED)
    pixels = np.full((240, 320, len(config.MODEL.PIXEL_MEAN)), 128, dtype=np.uint8)
    for _ in range(24):
        top, left = generator.integers(0, 200), generator.integers(0, 280)
        height, width = generator.integers(20, 120, 2)
        pixels[top : top + height, left : left + width] = generator.integers(0, 256, pixels.shape[2])
    resized = resize_shortest_edge(pixels, config.INPUT.MIN_SIZE_TEST, config.INPUT.MAX_SIZE_TEST)
    if not resized.size:
        raise DatasetError("INPUT.MIN_SIZE_TEST leaves no pixel of an image; raise it")
    return torch.from_numpy(resized.transpose(2, 0, 1).astype(np.float32))
