"""A small model to run stages on: the demo's detector with few images."""

import json
from pathlib import Path

import pytest

from roastery.spec import DatasetSpec, ModelSpec
from roastery.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


@pytest.fixture
def model(mask_model: Path) -> ModelSpec:
    weights = str(mask_model / "model_final.pkl")
    return ModelSpec(name="mask", config=mask_model / "config.yaml", weights=weights, dataset="few")


@pytest.fixture
def dataset(shapes: Path, tmp_path: Path) -> DatasetSpec:
    """Four images to evaluate on, the same to sample from."""
    content = json.loads((shapes / "val" / "instances.json").read_text())
    content["images"] = content["images"][:4]
    kept = {image["id"] for image in content["images"]}
    content["annotations"] = [each for each in content["annotations"] if each["image_id"] in kept]
    annotations = tmp_path / "instances.json"
    annotations.write_text(json.dumps(content))
    return DatasetSpec(name="few", images=shapes / "val" / "images", annotations=annotations)
