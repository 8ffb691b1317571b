"""What the Prefect UI shows: artifacts under keys that stay, on a real server."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.shown import slug
from roastery.errors import CheckpointError
from roastery.spec import SAFE_NAME, DatasetSpec, ModelSpec, PipelineConfig

pytestmark = pytest.mark.xdist_group("flows")

Converted = tuple[PipelineConfig, Any, list[str]]
NAMES = st.from_regex(SAFE_NAME, fullmatch=True)


@given(NAMES)
def test_a_slug_is_a_key_that_prefect_takes(name: str) -> None:
    """Prefect: "must only contain lowercase letters, numbers, and dashes"."""
    assert re.fullmatch(r"[a-z0-9-]+", f"report-{slug(name)}")


@given(NAMES, NAMES)
def test_no_two_models_share_a_slug(one: str, other: str) -> None:
    assert (slug(one) == slug(other)) == (one == other)


@pytest.mark.parametrize(("one", "other"), [("a_b", "a-b"), ("a.b", "a_b"), ("A", "a"), ("a__b", "a_b"), ("a_", "a")])
def test_names_that_look_alike_do_not_share_a_slug(one: str, other: str) -> None:
    assert slug(one) != slug(other)


def test_a_plain_name_is_readable_in_its_slug() -> None:
    assert slug("mask_rcnn_r50") == "mask-rcnn-r50"


def shown(key: str) -> list[Any]:
    """The artifacts of a key, the oldest first."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

    with get_client(sync_client=True) as client:
        wanted = ArtifactFilter(key=ArtifactFilterKey(any_=[key]))
        return sorted(client.read_artifacts(artifact_filter=wanted), key=lambda artifact: artifact.created)


def test_a_conversion_shows_its_figures_its_report_its_progress_and_where_it_is_in_mlflow(
    converted: Converted, model: ModelSpec
) -> None:
    outcome = converted[1].result(raise_on_failure=False)
    name = slug(model.name)
    table = shown(f"evaluation-{name}")[0]
    evaluation = outcome.conversion.evaluation
    first = {"metric": "bbox/AP"} | {target: types["bbox"]["AP"] for target, types in evaluation.metrics.items()}
    assert json.loads(table.data)[0] == first
    assert table.description == f"{model.name}.caffe2: passed, judged by torch"
    report = shown(f"report-{name}")[0]
    assert "passed" in report.data.splitlines()[2]
    assert "![" not in report.data, "a picture that the UI cannot reach"
    assert [each.data for each in shown(f"progress-{name}")][:1] == [100.0]
    link = shown(f"mlflow-{name}")[0]
    assert outcome.registered.run_url in link.data
    assert Path(outcome.registered.run_url.removeprefix("file://")).is_file()


def test_the_same_model_again_is_the_same_keys(
    run_model: Any, converted: Converted, model: ModelSpec, few: DatasetSpec, watched: Any
) -> None:
    name = slug(model.name)
    before = len(shown(f"report-{name}"))
    run_model(model, few, converted[0])
    assert len(shown(f"report-{name}")) == before + 1
    assert [each.data for each in shown(f"progress-{name}")][-1] == 100.0


def test_a_failure_shows_its_stage_its_reason_and_where_to_look(
    run_model: Any, converted: Converted, model: ModelSpec, few: DatasetSpec, pipeline: PipelineConfig, watched: Any
) -> None:
    watched.faults = {"sample": [CheckpointError("<script>x</script>\n# no heading")]}
    named = model.model_copy(update={"name": "fails.here"})
    outcome = run_model(named, few, pipeline).result(raise_on_failure=False)
    (said,) = shown(f"report-{slug('fails.here')}")
    assert said.description == "fails.here: failed in sample"
    lines = said.data.splitlines()
    assert lines[0] == "# fails.here: failed in sample"
    # Indented: code, and nothing else to Markdown.
    assert "    <script>x</script>\\n# no heading" in lines
    assert f"    {outcome.failure.command}" in lines
    assert f"    {outcome.failure.look}" in lines
