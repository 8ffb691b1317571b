"""A conversion whose store is S3, by the model's own process: it ends as on a folder, though S3 refuses for a while."""

from typing import Any

import pytest
from outcomes import outcome_of

from roastery.filesystem import open_filesystem
from roastery.results import Conversion
from roastery.spec import DatasetSpec, ModelSpec, PipelineConfig
from roastery.stages.stage import TIMING_FILE

pytestmark = pytest.mark.xdist_group("flows")

Converted = tuple[PipelineConfig, Any, list[str]]


def versions_in(pipeline: PipelineConfig, name: str) -> list[Any]:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=pipeline.tracking_uri, registry_uri=pipeline.tracking_uri)
    return list(client.search_model_versions(f"name = '{name}'"))


def digests(conversion: Conversion) -> dict[str, dict[str, str]]:
    """Of what the conversion made of the model: all but what it cost."""
    artifacts = (conversion.resolved.artifact, conversion.program, conversion.onnx, conversion.converted)
    return {
        artifact.stage: {name: sha256 for name, sha256 in artifact.files.items() if name != TIMING_FILE}
        for artifact in artifacts
    }


@pytest.fixture
def on_s3(pipeline: PipelineConfig, s3: str) -> PipelineConfig:
    """An empty pipeline whose store is S3."""
    return pipeline.model_copy(update={"store": f"{s3}/team/models"})


def names_in(url: str) -> list[str]:
    filesystem, root = open_filesystem(url)
    return [str(path).removeprefix(f"{root}/") for path in filesystem.find(root)]


def test_a_conversion_whose_writes_are_refused_and_then_allowed_is_the_one_that_a_folder_gets(
    run_model: Any, converted: Converted, model: ModelSpec, few: DatasetSpec, on_s3: PipelineConfig, s3_gate: Any
) -> None:
    """A stage's upload is refused at two of its three attempts."""
    s3_gate.stop("PUT", "/models/trace/", "AccessDenied", times=2)
    outcome = outcome_of(run_model(model, few, on_s3))
    assert s3_gate.stopped == 2
    assert outcome.failure is None
    assert outcome.passed
    before = outcome_of(converted[1]).conversion
    assert outcome.conversion is not None
    assert before is not None
    assert digests(outcome.conversion) == digests(before)
    assert outcome.conversion.key == before.key
    assert outcome.conversion.evaluation.metrics == before.evaluation.metrics
    (version,) = versions_in(on_s3, f"{model.name}.caffe2")
    assert (int(version.version), version.tags["verdict"]) == (1, "passed")
    left = [name for name in names_in(on_s3.store) if name.startswith((".leases", "failures"))]
    assert left == []


def test_a_store_that_was_copied_to_s3_serves_there_and_an_object_damaged_in_it_is_built_again_alone(
    run_model: Any, converted: Converted, model: ModelSpec, few: DatasetSpec, on_s3: PipelineConfig, watched: Any
) -> None:
    before = outcome_of(converted[1]).conversion
    assert before is not None
    filesystem, root = open_filesystem(on_s3.store)
    filesystem.put(converted[0].store, root, recursive=True)
    assert outcome_of(run_model(model, few, on_s3)).passed
    assert watched.asked == []

    damaged = f"{root}/export_onnx/{before.onnx.key}/model.onnx"
    content = filesystem.cat_file(damaged)
    filesystem.pipe_file(damaged, content[:-1] + bytes([content[-1] ^ 1]))
    after = outcome_of(run_model(model, few, on_s3))
    assert watched.asked == ["export_onnx"]
    assert filesystem.cat_file(damaged) == content
    assert after.conversion is not None
    assert digests(after.conversion) == digests(before)
    (version,) = versions_in(on_s3, f"{model.name}.caffe2")
    assert int(version.version) == 1
