"""Models that code of the user's builds: their keys cover it, their stages run it, and nothing runs for a key alone."""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from roastery.config import load_config
from roastery.errors import ConfigError
from roastery.spec import DatasetSpec, ExportSpec, ModelSpec, SampleSpec, load_model
from roastery.stages import predict, resolve, sample, trace
from roastery.stages.arrays import load_samples
from roastery.stages.resolve import CONFIG_FILE, ResolveRequest, ResolveResult, config_sha256
from roastery.stages.stage import perform
from roastery.store import Store

HEAD = """
from torch import nn
from roastery.detectors.backbone import ShapeSpec
from roastery.detectors.box_head import build_box_head
from roastery.detectors.registries import ROI_BOX_HEAD_REGISTRY

if "OwlHead" not in ROI_BOX_HEAD_REGISTRY:
    @ROI_BOX_HEAD_REGISTRY.register()
    def OwlHead(cfg, input_shape):
        assert cfg.MODEL.OWL.EYES == 2
        return build_box_head(cfg, input_shape)

def add_keys(cfg):
    cfg.MODEL.OWL = type(cfg)({"EYES": 2})
"""


@pytest.fixture
def owls(model: ModelSpec, tmp_path: Path) -> Iterator[ModelSpec]:
    """The demo model with a box head that a module of its project registers, and a key of its own."""
    (tmp_path / "owl_parts.py").write_text(HEAD)
    before = list(sys.path)
    yield model.model_copy(
        update={
            "overrides": ("MODEL.ROI_BOX_HEAD.NAME", "OwlHead", "MODEL.OWL.EYES", "2"),
            "custom_modules": ("owl_parts:add_keys",),
            "modules_from": tmp_path,
        }
    )
    sys.path[:] = before
    sys.modules.pop("owl_parts", None)


def _resolved(model: ModelSpec, dataset: DatasetSpec, store: Store) -> ResolveResult:
    return perform(resolve.STAGE, ResolveRequest(model=model.name, spec=model, dataset=dataset), store)


def test_a_changed_line_of_a_custom_module_changes_the_key_and_none_of_it_is_run_for_that(
    owls: ModelSpec, dataset: DatasetSpec, tmp_path: Path
) -> None:
    def key() -> str:
        return ResolveRequest(model=owls.name, spec=owls, dataset=dataset).key()

    (tmp_path / "owl_parts.py").write_text("raise RuntimeError\n")
    first, digest = key(), config_sha256(owls)
    (tmp_path / "owl_parts.py").write_text("raise RuntimeError  # really\n")
    assert key() != first
    assert config_sha256(owls) != digest
    moved = owls.model_copy(update={"overrides": (*owls.overrides, "MODEL.OWL.EYES", "3")})
    assert config_sha256(moved) != config_sha256(owls)


def test_every_stage_runs_with_the_custom_modules(
    owls: ModelSpec, model: ModelSpec, dataset: DatasetSpec, store: Store
) -> None:
    found = {}
    for spec in (owls, model):
        result = _resolved(spec, dataset, store)
        resolved = result.model(spec)
        pinned = result.facts.dataset
        asked = {"model": spec.name, "resolved": resolved}
        sampled = perform(
            sample.STAGE,
            sample.SampleRequest(**asked, dataset=dataset, pinned=pinned, sample=SampleSpec(n=1)),
            store,
        )
        traced = perform(trace.STAGE, trace.TraceRequest(**asked, sample=sampled.artifact, export=ExportSpec()), store)
        original = perform(
            predict.STAGE,
            predict.PredictRequest(**asked, finder="original", shard=1, shards=1, dataset=dataset, pinned=pinned),
            store,
        )
        folder = store.fetch(original.artifact)
        found[spec.custom_modules] = (
            (folder / predict.DETECTIONS_FILE).read_text(),
            next(iter(load_samples(store.fetch(traced.artifact) / trace.OUTPUTS_FILE))),
        )
        predict.unload()
        assert resolved.original_kind == "reference"
    with_module, without = found[owls.custom_modules], found[()]
    assert with_module[0] == without[0]
    for name, array in without[1].items():
        np.testing.assert_array_equal(with_module[1][name], array)


def test_the_config_that_later_stages_read_has_detectron2s_keys_alone(
    owls: ModelSpec, dataset: DatasetSpec, store: Store
) -> None:
    result = _resolved(owls, dataset, store)
    config = load_config(store.fetch(result.artifact) / CONFIG_FILE)
    assert "OWL" not in config.MODEL
    assert config.MODEL.ROI_BOX_HEAD.NAME == "OwlHead"
    source = result.model(owls).source
    assert source is not None
    assert source.custom_modules == ("owl_parts:add_keys",)


def test_a_model_without_code_says_no_source(model: ModelSpec, dataset: DatasetSpec, store: Store) -> None:
    assert _resolved(model, dataset, store).model(model).source is None


def test_modules_are_looked_for_under_the_root_of_the_project_that_names_them(tmp_path: Path) -> None:
    folder = tmp_path / "configs/models"
    folder.mkdir(parents=True)
    file = folder / "owls.yaml"
    file.write_text("name: owls\nconfig: a.yaml\nweights: a.pkl\ndataset: few\ncustom_modules: [owl_parts]\n")
    assert load_model(file).modules_from == tmp_path
    file.write_text(file.read_text() + "modules_from: elsewhere\n")
    assert load_model(file).modules_from == tmp_path / "elsewhere"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("config: a.py", "is a LazyConfig, which only `source: detectron2` builds"),
        ("config: a.yaml\ncustom_modules: ['owls; import os']", "custom_modules"),
        ("config: a.yaml\nsource: caffe", "source"),
    ],
)
def test_a_spec_whose_code_cannot_be_meant_is_refused(tmp_path: Path, lines: str, message: str) -> None:
    (tmp_path / "m.yaml").write_text(f"name: owls\nweights: a.pkl\ndataset: few\n{lines}\n")
    with pytest.raises(ConfigError, match=message):
        load_model(tmp_path / "m.yaml")


def test_a_registered_source_has_no_code_with_it(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text("name: a\nweights: models:/a/1\ndataset: few\nsource: detectron2\n")
    with pytest.raises(ConfigError, match="is native and has no code with it"):
        load_model(tmp_path / "m.yaml")


@pytest.mark.detectron2
def test_a_live_model_is_its_own_original_in_every_stage(model: ModelSpec, dataset: DatasetSpec, store: Store) -> None:
    live = model.model_copy(update={"source": "detectron2"})
    assert config_sha256(live) != config_sha256(model)
    result = _resolved(live, dataset, store)
    resolved = result.model(live)
    assert resolved.original_kind == "detectron2"
    request = predict.PredictRequest(
        model="mask",
        resolved=resolved,
        finder="original",
        shard=1,
        shards=1,
        dataset=dataset,
        pinned=result.facts.dataset,
    )
    done = perform(predict.STAGE, request, store)
    assert done.facts.failures == ()
    assert done.facts.detections > 0
    predict.unload()
