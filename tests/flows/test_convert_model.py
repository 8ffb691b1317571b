"""One model's flow: each task retries alone, what is unchanged is not done again, and a failed gate is a failed run."""

import json
import pickle
import re
import shutil
from collections import Counter
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from outcomes import outcome_of

from flows.progress import Progress, listening
from roastery.errors import CheckpointError, RegistryUnavailable, RuntimeFailed
from roastery.spec import DatasetSpec, ModelSpec, PipelineConfig
from roastery.stages import STAGES

pytestmark = pytest.mark.xdist_group("flows")

Converted = tuple[PipelineConfig, Any, list[str]]


def versions_in(pipeline: PipelineConfig, name: str) -> list[Any]:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=pipeline.tracking_uri, registry_uri=pipeline.tracking_uri)
    return list(client.search_model_versions(f"name = '{name}'"))


@pytest.mark.parametrize("stage", STAGES)
def test_a_fault_that_passes_reruns_its_own_stage_and_nothing_before_it(converted: Converted, stage: str) -> None:
    """Every stage met one fault. So each was asked for once more than it has shards, and in one stretch."""
    _, state, asked = converted
    assert outcome_of(state).passed
    stretches = [name for name, _ in groupby(asked)]
    assert stretches == list(STAGES), "a stage was done again after a later one had begun"
    tasks = 4 if stage == "predict" else 1
    assert asked.count(stage) == tasks + 1


def test_a_conversion_gives_one_registered_version_with_its_figures(converted: Converted, model: ModelSpec) -> None:
    pipeline, state, _ = converted
    outcome = outcome_of(state)
    assert outcome.conversion is not None
    assert outcome.registered is not None
    evaluation = outcome.conversion.evaluation
    assert evaluation.images == 4
    assert evaluation.metrics["torch"]["bbox"]["AP"] == pytest.approx(
        evaluation.metrics["original"]["bbox"]["AP"], abs=0.05
    )
    assert evaluation.parity[0].passed
    (version,) = versions_in(pipeline, f"{model.name}.caffe2")
    assert int(version.version) == outcome.registered.version == 1
    assert version.tags["verdict"] == "passed"
    assert outcome.registered.alias == "candidate"
    assert {timing.stage for timing in outcome.conversion.timings} >= {"trace", "predict original", "predict torch"}


def test_the_version_is_a_model_of_mlflows_that_finds_what_was_measured_by_the_names_of_its_classes(
    converted: Converted, few: DatasetSpec
) -> None:
    import mlflow

    outcome = converted[1].result(raise_on_failure=False)
    pipeline, registered = converted[0], outcome.registered
    dataset = json.loads(few.annotations.read_text())
    named = {category["id"]: category["name"] for category in dataset["categories"]}
    detections = Path(outcome.conversion.evaluated.uri) / "detections-torch.json"
    image = dataset["images"][0]
    expected = [each for each in json.loads(detections.read_text()) if each["image_id"] == image["id"]]
    assert expected
    mlflow.set_tracking_uri(pipeline.tracking_uri)
    try:
        model = mlflow.pyfunc.load_model(f"models:/{registered.name}@candidate")
    finally:
        mlflow.set_tracking_uri(None)

    found = model.predict([(few.images / image["file_name"]).read_bytes()])

    assert list(found["class"]) == [named[each["category_id"]] for each in expected]
    assert list(found["score"]) == pytest.approx([each["score"] for each in expected], abs=1e-6)


def test_the_report_and_its_pictures_lie_in_the_artifact(converted: Converted, model: ModelSpec) -> None:
    conversion = outcome_of(converted[1]).conversion
    assert conversion is not None
    folder = Path(conversion.report.uri)
    for form in ("report.md", "report.html"):
        assert f"{model.name}: passed" in (folder / form).read_text()
    assert {"report-1.png", "report-curves-bbox.svg", "config.yaml"} <= set(conversion.report.files)
    costs = (folder / "report.md").read_text().partition("## Stages")[2].partition("##")[0]
    before = [stage for stage in STAGES[: STAGES.index("report")] if stage not in ("convert", "predict")]
    told = re.findall(r"(?m)^\| ([\w ]+) \| [\d.]+ \|", costs)
    assert sorted(told) == sorted([*before, "convert caffe2", "predict original", "predict torch"])


def test_an_unchanged_model_is_taken_from_the_store_and_makes_no_second_version(
    run_model: Any, converted: Converted, model: ModelSpec, few: DatasetSpec, watched: Any
) -> None:
    pipeline, first, _ = converted
    told: list[Progress] = []
    with listening(told.append):
        second = outcome_of(run_model(model, few, pipeline))
    assert watched.asked == []
    done = {progress.stage: progress.cached for progress in told if progress.event == "done"}
    of_each = {"convert caffe2", "predict original", "predict torch"}
    assert set(done) == {*STAGES, *of_each, "log"} - {"convert", "predict"}
    assert all(done.values())
    assert second.registered is not None
    assert second.registered.created is False
    assert len(versions_in(pipeline, f"{model.name}.caffe2")) == 1
    before = outcome_of(first).conversion
    assert second.conversion is not None
    assert before is not None
    assert second.conversion.key == before.key
    # Of the same words in the same order, or a report would have its rows in another.
    assert second.conversion.evaluation.model_dump_json() == before.evaluation.model_dump_json()
    assert [timing.seconds for timing in second.conversion.timings] == [timing.seconds for timing in before.timings]


@pytest.mark.parametrize("damage", ["manifest.json", "model.onnx"])
def test_an_artifact_missing_or_damaged_is_built_again_alone(
    run_model: Any, converted: Converted, model: ModelSpec, few: DatasetSpec, watched: Any, damage: str
) -> None:
    pipeline, state, _ = converted
    before = outcome_of(state).conversion
    assert before is not None
    path = Path(before.onnx.uri) / damage
    if damage == "manifest.json":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-1] + b"\0")
    after = outcome_of(run_model(model, few, pipeline)).conversion
    assert after is not None
    assert watched.asked == ["export_onnx"]
    assert after.onnx.files["model.onnx"] == before.onnx.files["model.onnx"]


def test_a_users_mistake_is_not_retried_and_fails_the_run_with_its_one_line(
    run_model: Any, converted: Converted, model: ModelSpec, few: DatasetSpec, pipeline: PipelineConfig, watched: Any
) -> None:
    watched.faults = {"resolve": [CheckpointError("x.pkl: truncated; fetch it again")] * 3}
    state = run_model(model, few, pipeline)
    outcome = outcome_of(state)
    assert watched.asked == ["resolve"]
    assert state.is_failed()
    assert outcome.failure is not None
    assert (outcome.failure.stage, outcome.failure.mistake, outcome.passed) == ("resolve", True, False)
    assert outcome.failure.reason == "x.pkl: truncated; fetch it again"
    assert state.message == "resolve: x.pkl: truncated; fetch it again"


def test_missing_weights_are_the_users_mistake(
    run_model: Any, prefect_server: None, model: ModelSpec, few: DatasetSpec, pipeline: PipelineConfig, watched: Any
) -> None:
    lost = model.model_copy(update={"weights": "/nowhere/w.pkl"})
    outcome = outcome_of(run_model(lost, few, pipeline))
    assert outcome.failure is not None
    assert outcome.failure.mistake
    assert outcome.failure.reason.startswith("/nowhere/w.pkl: no such checkpoint")
    assert watched.asked == [], "no process is started for what can be seen from here"
    assert Path(outcome.failure.look or "").parts[-3:] == ("failures", model.name, "resolve")


def test_a_fault_that_stays_fails_the_run_after_its_retries(
    run_model: Any, prefect_server: None, model: ModelSpec, few: DatasetSpec, pipeline: PipelineConfig, watched: Any
) -> None:
    watched.faults = {"resolve": [RuntimeFailed("the worker died; its last words: out of memory")] * 5}
    state = run_model(model, few, pipeline)
    assert watched.asked == ["resolve"] * (1 + pipeline.retries.times)
    failure = outcome_of(state).failure
    assert failure is not None
    assert (failure.reason, failure.mistake) == ("the worker died", False)
    assert failure.look is not None
    assert "out of memory" in (Path(failure.look) / "log.txt").read_text()


def copied(pipeline: PipelineConfig, folder: Path) -> PipelineConfig:
    """The same store, in another place, and an empty registry."""
    shutil.copytree(pipeline.store, folder / "store")
    return pipeline.model_copy(update={"store": str(folder / "store"), "tracking_uri": f"sqlite:///{folder}/mlflow.db"})


def test_a_busy_registry_is_asked_again_alone(
    run_model: Any,
    converted: Converted,
    model: ModelSpec,
    few: DatasetSpec,
    watched: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from roastery.registry.catalog import Catalog

    real, calls = Catalog.log, []

    def busy_once(self: Catalog, *args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        if len(calls) == 1:
            raise RegistryUnavailable("database is locked")
        return real(self, *args, **kwargs)

    monkeypatch.setattr(Catalog, "log", busy_once)
    elsewhere = copied(converted[0], tmp_path)
    outcome = outcome_of(run_model(model, few, elsewhere))
    assert len(calls) == 2
    assert watched.asked == [], "the store remembers, wherever it lies"
    assert outcome.registered is not None
    assert len(versions_in(elsewhere, f"{model.name}.caffe2")) == 1


def test_a_failed_gate_is_filed_as_failed_and_fails_the_run(
    run_model: Any,
    converted: Converted,
    model: ModelSpec,
    few: DatasetSpec,
    cut_short: DatasetSpec,
    watched: Any,
    tmp_path: Path,
) -> None:
    """One of the evaluated images is cut short; those that are sampled from are whole."""
    cut = sorted(cut_short.images.iterdir())[1]
    damaged = cut_short.model_copy(update={"sample_images": few.images, "sample_annotations": few.annotations})
    elsewhere = copied(converted[0], tmp_path)
    state = run_model(model, damaged, elsewhere)
    outcome = outcome_of(state)
    assert state.is_failed()
    assert (outcome.passed, outcome.failure) == (False, None)
    assert "torch: 2 images failed: original: " in str(state.message)
    assert cut.name in str(state.message)
    (version,) = versions_in(elsewhere, f"{model.name}.caffe2")
    assert version.tags["verdict"] == "failed"
    assert outcome.registered is not None
    assert outcome.registered.alias is None


def test_an_artifact_damaged_after_it_was_found_is_built_again_in_the_same_run(
    run_model: Any, converted: Converted, model: ModelSpec, few: DatasetSpec, watched: Any, tmp_path: Path
) -> None:
    elsewhere = copied(converted[0], tmp_path)
    shutil.rmtree(tmp_path / "store" / "convert")
    (onnx,) = (tmp_path / "store" / "export_onnx").glob("*/model.onnx")
    whole = onnx.read_bytes()

    def damage(progress: Progress) -> None:
        if (progress.stage, progress.event) == ("convert caffe2", "begins") and not watched.asked:
            onnx.write_bytes(whole[:-1] + b"\0")

    with listening(damage):
        outcome = outcome_of(run_model(model, few, elsewhere))
    assert watched.asked == ["convert", "export_onnx", "convert"]
    assert onnx.read_bytes() == whole
    assert outcome.passed
    assert len(versions_in(elsewhere, f"{model.name}.caffe2")) == 1


def test_a_model_that_differs_in_one_weight_shares_the_sample_alone(
    run_model: Any, converted: Converted, model: ModelSpec, few: DatasetSpec, watched: Any, tmp_path: Path
) -> None:
    """The last bit of one number of many."""
    content = pickle.loads(Path(model.weights).read_bytes())
    name = "backbone.bottom_up.stem.conv1.weight"
    content["model"][name] = np.array(content["model"][name])
    content["model"][name].flat[0] = np.nextafter(content["model"][name].flat[0], np.float32(np.inf))
    (tmp_path / "w.pkl").write_bytes(pickle.dumps(content))
    other = model.model_copy(update={"weights": str(tmp_path / "w.pkl")})
    pipeline, state, _ = converted
    before = {folder.name for folder in Path(pipeline.store).glob("*/*") if (folder / "manifest.json").exists()}
    outcome = outcome_of(run_model(other, few, pipeline))
    assert watched.counts == Counter(
        {stage: 1 for stage in STAGES if stage not in ("sample", "predict")} | {"predict": 4}
    )
    first = outcome_of(state)
    assert outcome.conversion is not None
    assert first.conversion is not None
    for artifact in ("converted", "onnx", "program"):
        one, two = getattr(first.conversion, artifact), getattr(outcome.conversion, artifact)
        assert two.key not in before
        assert one.files != two.files
    assert outcome.registered is not None
    assert outcome.registered.created


def test_a_fault_of_the_program_is_that_models_failure_and_not_retried(
    run_model: Any, converted: Converted, model: ModelSpec, few: DatasetSpec, watched: Any
) -> None:
    watched.faults = {"resolve": [ZeroDivisionError("division by zero")]}
    odd = model.model_copy(update={"name": "odd", "overrides": ("MODEL.DEVICE", "cuda")})
    failure = outcome_of(run_model(odd, few, converted[0])).failure
    assert failure is not None
    assert (failure.stage, failure.reason) == ("resolve", "ZeroDivisionError: division by zero")
    assert not failure.mistake
    assert watched.asked.count("resolve") == 1
