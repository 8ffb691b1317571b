"""One trace, several targets: each judged, filed and measured again by itself."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from outcomes import outcome_of

from roastery.errors import UnsupportedOperator
from roastery.registry.catalog import Catalog
from roastery.registry.registry import Registry
from roastery.results import ModelSummary
from roastery.spec import DatasetSpec, ModelSpec, PipelineConfig
from tests.flows.conftest import Watched, pipeline_in

pytestmark = pytest.mark.xdist_group("targets")


@pytest.fixture(scope="module")
def both(model: ModelSpec) -> ModelSpec:
    return model.model_copy(update={"targets": ("caffe2", "onnxruntime")})


@pytest.fixture(scope="module")
def filed(
    prefect_server: None, run_model: Any, both: ModelSpec, few: DatasetSpec, tmp_path_factory: pytest.TempPathFactory
) -> tuple[PipelineConfig, Any, list[str]]:
    """A cold conversion to both: its pipeline, its state, and the stages that were asked for."""
    from tasks.performer import performing

    pipeline = pipeline_in(tmp_path_factory.mktemp("targets"))
    with performing(Watched()) as performer:
        assert isinstance(performer, Watched)
        state = run_model(both, few, pipeline)
    return pipeline, state, performer.asked


def test_a_model_is_traced_once_and_converted_to_each_target(filed: Any) -> None:
    _, state, asked = filed
    assert state.is_completed(), state.message
    # The original is looked at once, in two shards, and each target in two of its own.
    assert Counter(asked) == {
        **dict.fromkeys(("resolve", "sample", "trace", "export_onnx"), 1),
        **dict.fromkeys(("convert", "evaluate", "report"), 2),
        "predict": 6,
    }
    one, other = (each.conversion for each in outcome_of(state).filed)
    assert (one.target, other.target) == ("caffe2", "onnxruntime")
    assert one.onnx == other.onnx
    assert one.key != other.key
    # What a conversion cost is what led to it, and nothing of another target's.
    assert [timing.stage for timing in other.timings] == [
        *("resolve", "sample", "trace", "export_onnx", "convert onnxruntime"),
        *("predict original", "predict onnxruntime", "evaluate", "report"),
    ][: len(other.timings)]


def test_each_target_is_a_registered_model_of_its_own_with_its_own_verdict(filed: Any, both: ModelSpec) -> None:
    pipeline, state, _ = filed
    catalog = Catalog(pipeline.tracking_uri, pipeline.experiment)
    told = {each.conversion.target: each.registered for each in outcome_of(state).filed}
    assert (told["caffe2"].name, told["onnxruntime"].name) == (f"{both.name}.caffe2", f"{both.name}.onnx")
    assert set(catalog.converted()) == {f"{both.name}.caffe2", f"{both.name}.onnx"}
    # The torch runtime is not what a Caffe2 model is for; ONNX Runtime is what an ONNX model is for.
    assert (told["caffe2"].alias, told["onnxruntime"].alias) == ("candidate", "validated")
    version = catalog.client.get_model_version(f"{both.name}.onnx", "1")
    assert (version.tags["target"], version.tags["judged_by"]) == ("onnxruntime", "onnxruntime")
    shown = [(each.target, each.verdict) for each in Registry(pipeline.tracking_uri, pipeline.experiment).models()]
    assert shown == [("caffe2", "passed"), ("onnxruntime", "passed")]


def test_the_ap_of_the_onnx_model_is_the_originals(filed: Any) -> None:
    """Issue: within 0.05."""
    (_, converted) = outcome_of(filed[1]).filed
    metrics = converted.conversion.evaluation.metrics
    original, onnx = (metrics[finder]["bbox"]["AP"] for finder in ("original", "onnxruntime"))
    assert original is not None
    assert onnx == pytest.approx(original, abs=0.05)


def test_the_registered_onnx_model_is_fetched_shown_and_loaded_by_mlflow(
    filed: Any, both: ModelSpec, few: DatasetSpec, tmp_path: Path
) -> None:
    import mlflow

    from roastery.onnx_runtime.model import OnnxModel
    from roastery.registry import flavor

    pipeline = filed[0]
    registry = Registry(pipeline.tracking_uri, pipeline.experiment)
    fetched = registry.fetch(f"{both.name}.onnx", tmp_path / "out")
    assert set(fetched.files) == {"model.onnx"}
    assert registry.show(f"{both.name}.onnx").operators["NonMaxSuppression"] >= 1
    mlflow.set_tracking_uri(pipeline.tracking_uri)
    loaded = flavor.load_model(f"models:/{both.name}.onnx/1")
    assert isinstance(loaded, OnnxModel)
    image = sorted(few.images.iterdir())[0]
    table = mlflow.pyfunc.load_model(f"models:/{both.name}.onnx@validated").predict([str(image)])
    assert len(table) > 0


def test_a_second_run_asks_for_nothing_and_files_nothing_new(
    run_model: Any, filed: Any, both: ModelSpec, few: DatasetSpec, watched: Watched
) -> None:
    outcome = outcome_of(run_model(both, few, filed[0]))
    assert watched.asked == []
    assert [each.registered.created for each in outcome.filed] == [False, False]


def test_a_target_that_fails_keeps_no_other_from_being_filed(
    run_model: Any, filed: Any, both: ModelSpec, few: DatasetSpec, watched: Watched
) -> None:
    name = "another"
    # What is not in the store yet.
    model = both.model_copy(update={"name": name, "overrides": ("MODEL.ROI_HEADS.SCORE_THRESH_TEST", "0.06")})
    watched.faults = {"convert": [UnsupportedOperator("operator 'Det' has no form")]}
    state = run_model(model, few, filed[0])
    outcome = outcome_of(state)
    assert state.is_failed()
    assert outcome.failure is not None
    assert (outcome.failure.stage, outcome.failure.reason) == ("convert caffe2", "operator 'Det' has no form")
    assert [each.registered.name for each in outcome.filed] == [f"{name}.onnx"]


def test_every_target_that_is_filed_is_measured_again(
    filed: Any, both: ModelSpec, few: DatasetSpec, watched: Watched
) -> None:
    from flows.asked import using
    from flows.reevaluate import reevaluate_model
    from roastery.project import Project

    with using(Project(models={both.name: both}, datasets={few.name: few}, pipeline=filed[0])):
        state = reevaluate_model(both.name, return_state=True)
    summary = state.result(raise_on_failure=False)
    assert isinstance(summary, ModelSummary)
    assert [(each.target, each.passed) for each in summary.targets] == [("caffe2", True), ("onnxruntime", True)]
    catalog = Catalog(filed[0].tracking_uri, filed[0].experiment)
    for target in summary.targets:
        assert target.registered is not None
        version = catalog.client.get_model_version(target.registered.name, "1")
        assert version.tags["reevaluation"] == "passed"
