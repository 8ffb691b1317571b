"""Models whose checkpoint lies at an address: the same as from a file, fetched once, asked for again if that helps."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from outcomes import outcome_of

from roastery.project import Project
from roastery.registry.catalog import Catalog
from roastery.spec import DatasetSpec, ModelSpec, PipelineConfig

pytestmark = pytest.mark.xdist_group("flows")

Converted = tuple[PipelineConfig, Any, list[str]]
ADDRESS = "detectron2://team/boxes/model_final.pkl"


@pytest.fixture
def published(web: Any, box_model: Path, model: ModelSpec) -> ModelSpec:
    """The model, with its checkpoint on a server."""
    web.files["/detectron2/team/boxes/model_final.pkl"] = (box_model / "model_final.pkl").read_bytes()
    return model.model_copy(update={"weights": ADDRESS})


def test_a_model_from_an_address_is_the_model_from_a_file_of_the_same_bytes(
    published: ModelSpec, converted: Converted, few: DatasetSpec, run_model: Any, watched: Any, web: Any
) -> None:
    from flows.unchanged import unchanged

    pipeline, state, _ = converted
    project = Project(models={published.name: published}, datasets={few.name: few}, pipeline=pipeline)
    catalog = Catalog(pipeline.tracking_uri, pipeline.experiment)
    # Nobody knows what lies there before it was fetched.
    assert unchanged(published, project, catalog) is None

    web.fails = ["cut"]
    # A stage that reads the checkpoint is done again, and gives the same.
    shutil.rmtree(Path(pipeline.store) / "trace")
    outcome = outcome_of(run_model(published, few, pipeline))

    assert outcome.failure is None
    assert outcome.conversion is not None
    assert outcome.registered is not None
    assert outcome.conversion.key == outcome_of(state).conversion.key  # type: ignore[union-attr]
    assert outcome.registered.version == 1
    assert outcome.conversion.resolved.weights == ADDRESS
    assert watched.asked == ["trace"]
    asked = len(web.asked)
    summary = unchanged(published, project, catalog)
    assert summary is not None
    assert summary.unchanged
    assert len(web.asked) == asked


def test_what_is_not_there_or_another_file_is_the_users_and_not_asked_for_again(
    published: ModelSpec, few: DatasetSpec, pipeline: PipelineConfig, run_model: Any, watched: Any, web: Any
) -> None:
    wrong = published.model_copy(update={"weights_sha256": "0" * 64})
    lost = published.model_copy(update={"weights": "detectron2://lost.pkl"})
    for model, words in ((wrong, "its sha256 is"), (lost, "no such file")):
        web.asked.clear()
        failure = outcome_of(run_model(model, few, pipeline)).failure
        assert failure is not None
        assert (failure.stage, failure.mistake) == ("fetch", True)
        assert model.weights in failure.reason
        assert words in failure.reason
        assert len(web.asked) == 1
    assert watched.asked == []


def test_a_server_that_does_not_answer_is_asked_again_by_the_task(
    published: ModelSpec,
    few: DatasetSpec,
    pipeline: PipelineConfig,
    run_model: Any,
    watched: Any,
    web: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("roastery.weights.fetch.ATTEMPTS", 2)
    web.fails = ["503"] * 100
    failure = outcome_of(run_model(published, few, pipeline)).failure
    assert failure is not None
    assert (failure.stage, failure.mistake) == ("fetch", False)
    assert ADDRESS in failure.reason
    # The task is tried three times, and each time the server twice.
    assert len(web.asked) == 6


def test_a_model_from_an_address_is_measured_again(
    published: ModelSpec,
    converted: Converted,
    pipeline: PipelineConfig,
    few: DatasetSpec,
    run_model: Any,
    watched: Any,
    web: Any,
) -> None:
    from flows.asked import using
    from flows.reevaluate import reevaluate_model

    # In a registry of its own: others' has versions of other weights.
    shutil.copytree(converted[0].store, pipeline.store)
    assert outcome_of(run_model(published, few, pipeline)).passed
    project = Project(models={published.name: published}, datasets={few.name: few}, pipeline=pipeline)
    with using(project):
        summary = reevaluate_model(published.name, return_state=True).result(raise_on_failure=False)
    assert summary.failure is None
    assert summary.passed
    assert watched.counts["predict"] > 0
    assert len(web.asked) == 1
