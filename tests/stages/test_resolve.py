"""Resolve: a model's key is its config, its weights and its images, wherever they lie."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from roastery.digest import file_sha256
from roastery.errors import CheckpointError, ConfigError, DatasetError
from roastery.spec import DatasetSpec, ModelSpec
from roastery.stages.predict import PredictRequest
from roastery.stages.resolve import CONFIG_FILE, STAGE, ResolveRequest
from roastery.stages.stage import perform
from roastery.stages.worker import load_stage
from roastery.store import Store
from roastery.weights.fetch import local_weights


def key(model: ModelSpec, dataset: DatasetSpec) -> str:
    return ResolveRequest(model=model.name, spec=model, dataset=dataset).key()


def test_the_place_and_the_name_of_a_model_are_no_part_of_its_key(
    model: ModelSpec, dataset: DatasetSpec, tmp_path: Path
) -> None:
    moved = model.model_copy(
        update={
            "name": "other",
            "weights": str(shutil.copy(model.weights, tmp_path / "w.pkl")),
            "config": Path(shutil.copy(model.config, tmp_path / "c.yaml")),
            "overrides": ("OUTPUT_DIR", "/elsewhere", "MODEL.WEIGHTS", "elsewhere.pkl"),
        }
    )
    assert key(moved, dataset) == key(model, dataset)


def test_one_byte_of_the_weights_one_config_key_and_one_annotation_change_the_key(
    model: ModelSpec, dataset: DatasetSpec, tmp_path: Path
) -> None:
    weights = bytearray(Path(model.weights).read_bytes())
    weights[-1000] ^= 1
    (tmp_path / "w.pkl").write_bytes(weights)
    content = json.loads(dataset.annotations.read_text())
    content["annotations"][0]["bbox"][0] += 1
    (tmp_path / "other.json").write_text(json.dumps(content))
    keys = {
        key(model, dataset),
        key(model.model_copy(update={"weights": str(tmp_path / "w.pkl")}), dataset),
        key(model.model_copy(update={"overrides": ("MODEL.ROI_HEADS.SCORE_THRESH_TEST", "0.1")}), dataset),
        key(model, dataset.model_copy(update={"annotations": tmp_path / "other.json"})),
    }
    assert len(keys) == 4


def test_it_pins_config_weights_and_data(model: ModelSpec, dataset: DatasetSpec, store: Store) -> None:
    done = perform(STAGE, ResolveRequest(model=model.name, spec=model, dataset=dataset), store)
    resolved = done.model(model)
    assert resolved.source_sha256 == file_sha256(Path(model.weights))
    assert resolved.weights_bytes == Path(model.weights).stat().st_size
    assert resolved.config_sha256 == file_sha256(store.fetch(resolved.artifact) / CONFIG_FILE)
    assert (resolved.name, resolved.meta_architecture) == ("mask", "GeneralizedRCNN")
    assert done.facts.dataset.images == 4


def test_a_checkpoint_at_an_address_has_the_key_of_its_bytes_once_it_was_fetched(
    model: ModelSpec, dataset: DatasetSpec, web: Any
) -> None:
    web.files["/detectron2/m/model_final.pkl"] = Path(model.weights).read_bytes()
    published = model.model_copy(update={"weights": "detectron2://m/model_final.pkl"})
    with pytest.raises(CheckpointError, match=r"detectron2://m/model_final\.pkl: was not fetched yet"):
        key(published, dataset)
    assert web.asked == []
    local_weights(published.weights)
    assert key(published, dataset) == key(model, dataset)
    assert len(web.asked) == 1


def test_the_original_is_read_from_an_address_also_where_it_is_gone_from_the_cache(
    model: ModelSpec, dataset: DatasetSpec, store: Store, web: Any
) -> None:
    web.files["/detectron2/m/model_final.pkl"] = Path(model.weights).read_bytes()
    published = model.model_copy(update={"weights": "detectron2://m/model_final.pkl"})
    fetched = local_weights(published.weights)
    done = perform(STAGE, ResolveRequest(model=model.name, spec=published, dataset=dataset), store)
    assert done.facts.weights_bytes == fetched.stat().st_size
    fetched.unlink()
    request = PredictRequest(
        model=model.name,
        finder="original",
        shard=1,
        shards=4,
        resolved=done.model(published),
        dataset=dataset,
        pinned=done.facts.dataset,
    )
    assert perform(load_stage("predict"), request, store).facts.images == 1
    assert len(web.asked) == 2


def test_weights_with_another_digest_than_registered_are_refused(model: ModelSpec, dataset: DatasetSpec) -> None:
    with pytest.raises(CheckpointError, match=f"its sha256 is .*, not {'0' * 64} as model 'mask' says"):
        key(model.model_copy(update={"weights_sha256": "0" * 64}), dataset)


@pytest.mark.parametrize(
    ("change", "error"),
    [({"config": Path("nowhere.yaml")}, ConfigError), ({"overrides": ("MODEL.NOPE", "1")}, ConfigError)],
)
def test_a_bad_config_is_the_users_to_mend(
    model: ModelSpec, dataset: DatasetSpec, change: dict[str, object], error: type[Exception]
) -> None:
    with pytest.raises(error):
        key(model.model_copy(update=change), dataset)


def test_missing_images_are_the_users_to_mend(model: ModelSpec, dataset: DatasetSpec, tmp_path: Path) -> None:
    with pytest.raises(DatasetError):
        key(model, dataset.model_copy(update={"images": tmp_path / "nowhere"}))
