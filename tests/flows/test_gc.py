"""`roastery gc` beside real conversions and their registry: what is registered stays whole, whatever it is told."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from outcomes import outcome_of
from typer.testing import CliRunner

from roastery.filesystem import open_filesystem
from roastery.project import Project
from roastery.registry.catalog import Catalog
from roastery.results import Conversion, FleetSummary
from roastery.spec import DatasetSpec, ModelSpec, PipelineConfig
from roastery.stages import STAGES
from roastery.store import Store

pytestmark = pytest.mark.xdist_group("flows")

Converted = tuple[PipelineConfig, Any, list[str]]


def conversion_of(converted: Converted) -> Conversion:
    conversion = outcome_of(converted[1]).conversion
    assert conversion is not None
    return conversion


@pytest.fixture(params=["folder", "s3"])
def filed(request: pytest.FixtureRequest, converted: Converted, tmp_path: Path) -> PipelineConfig:
    """A copy of a store with a registered conversion, in a folder and on S3, and its registry."""
    pipeline = converted[0]
    if request.param == "folder":
        shutil.copytree(pipeline.store, tmp_path / "copied")
        return pipeline.model_copy(update={"store": str(tmp_path / "copied")})
    url = f"{request.getfixturevalue('s3')}/team/models"
    filesystem, root = open_filesystem(url)
    filesystem.put(pipeline.store, root, recursive=True)
    return pipeline.model_copy(update={"store": url})


def gc(pipeline: PipelineConfig, tmp_path: Path, *arguments: str) -> Any:
    """All that it may remove, unless told otherwise."""
    from cli.main import app

    (tmp_path / "pipeline.yaml").write_text(f"store: {pipeline.store}\ntracking_uri: {pipeline.tracking_uri}\n")
    command = ["gc", "--pipeline", str(tmp_path / "pipeline.yaml"), "--older-than", "0", "--yes", "--json"]
    done = CliRunner().invoke(app, [*command, *arguments])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def files_in(url: str) -> dict[str, bytes]:
    filesystem, root = open_filesystem(url)
    return {str(path).removeprefix(f"{root}/"): filesystem.cat_file(path) for path in filesystem.find(root)}


def artifacts_in(url: str) -> set[str]:
    return {name.removesuffix("/manifest.json") for name in files_in(url) if name.endswith("/manifest.json")}


def fill(url: str, stage: str, key: str) -> None:
    with Store(url).build(stage, key) as build:
        (build.directory / "a.txt").write_text("nobody's")


def fleet(model: ModelSpec, dataset: DatasetSpec, pipeline: PipelineConfig) -> FleetSummary:
    from flows.asked import using
    from flows.convert_fleet import convert_fleet

    with using(Project(models={model.name: model}, datasets={dataset.name: dataset}, pipeline=pipeline)):
        summary = convert_fleet([model.name], only="all", return_state=True).result(raise_on_failure=False)
    assert isinstance(summary, FleetSummary)
    return summary


def test_a_conversion_says_every_artifact_that_it_was_made_by(converted: Converted) -> None:
    conversion = conversion_of(converted)
    there = artifacts_in(converted[0].store)
    # Other tests of the session add theirs to the store.
    assert set(conversion.artifacts) == conversion.needed <= there
    assert len(conversion.artifacts) == len(STAGES) - 1 + 2 * 2, "a shard each of two, of two targets"
    assert {name.split("/")[0] for name in conversion.artifacts} == set(STAGES)


def test_what_is_registered_stays_to_the_byte_and_the_next_fleet_finds_it_unchanged(
    filed: PipelineConfig, converted: Converted, model: ModelSpec, few: DatasetSpec, tmp_path: Path, watched: Any
) -> None:
    conversion = conversion_of(converted)
    for number, stage in enumerate((*STAGES, "recall")):
        fill(filed.store, stage, f"{number:064x}")
    before = files_in(filed.store)
    removed = set(gc(filed, tmp_path)["removed"])
    assert removed >= {f"{stage}/{number:064x}" for number, stage in enumerate((*STAGES, "recall"))}
    assert not removed & conversion.needed
    after = files_in(filed.store)
    assert {name.rpartition("/")[0] for name in set(before) - set(after)} == removed
    assert after.items() <= before.items()
    assert artifacts_in(filed.store) >= set(conversion.artifacts)
    (summary,) = fleet(model, few, filed).models
    assert summary.unchanged
    # And once more, with nothing left to go.
    assert gc(filed, tmp_path)["removed"] == []
    assert watched.asked == []


def test_of_a_conversion_from_before_it_said_so_what_it_names_stays(
    filed: PipelineConfig, converted: Converted, tmp_path: Path
) -> None:
    conversion = conversion_of(converted)
    registered = outcome_of(converted[1]).registered
    assert registered is not None
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=filed.tracking_uri, registry_uri=filed.tracking_uri)
    file = Path(client.get_run(registered.run_id).info.artifact_uri.removeprefix("file://")) / "conversion.json"
    said = file.read_text()
    file.write_text(json.dumps({name: value for name, value in json.loads(said).items() if name != "artifacts"}))
    try:
        removed = set(gc(filed, tmp_path)["removed"])
    finally:
        file.write_text(said)
    named = conversion.model_copy(update={"artifacts": ()}).needed
    assert named <= artifacts_in(filed.store)
    assert not removed & named
    # Other tests file versions there too, that share some.
    catalog = Catalog(filed.tracking_uri, filed.experiment)
    others = [catalog.conversion(each) for each in catalog.versions() if each.run_id != registered.run_id]
    assert removed >= set(conversion.artifacts).difference(named, *(other.needed for other in others))


def test_a_version_that_is_deleted_needs_nothing(
    run_model: Any, model: ModelSpec, few: DatasetSpec, pipeline: PipelineConfig, converted: Converted, tmp_path: Path
) -> None:
    shutil.copytree(converted[0].store, pipeline.store)
    name = f"{model.name}.caffe2"
    assert outcome_of(run_model(model, few, pipeline)).passed
    assert artifacts_in(pipeline.store) >= conversion_of(converted).needed
    assert not set(gc(pipeline, tmp_path)["removed"]) & conversion_of(converted).needed
    from mlflow import MlflowClient

    MlflowClient(tracking_uri=pipeline.tracking_uri, registry_uri=pipeline.tracking_uri).delete_model_version(name, "1")
    assert set(gc(pipeline, tmp_path)["removed"]) >= conversion_of(converted).needed
    assert artifacts_in(pipeline.store) == set()
    # And it is made again from nothing.
    assert outcome_of(run_model(model, few, pipeline)).passed


def test_a_run_leaves_nothing_of_what_it_used(
    run_model: Any, filed: PipelineConfig, model: ModelSpec, few: DatasetSpec
) -> None:
    from tasks.used import Uses

    noted: list[str] = []
    note = Uses.note
    with pytest.MonkeyPatch.context() as patch:

        def noting(self: Uses, stage: str, key: str) -> None:
            note(self, stage, key)
            noted.append(f"{stage}/{key}")
            # Names alone: another shard may be writing its own word at this moment.
            filesystem, root = open_filesystem(filed.store)
            assert filesystem.ls(f"{root}/.uses", detail=False)

        patch.setattr(Uses, "note", noting)
        outcome = outcome_of(run_model(model, few, filed))
    assert outcome.conversion is not None
    assert set(noted) == set(outcome.conversion.artifacts)
    assert [name for name in files_in(filed.store) if name.startswith((".uses/", ".leases/"))] == []


HOLD = """
import sys
from roastery.store import Store
from roastery.uses import Uses
with Uses(Store(sys.argv[1]), "m") as uses:
    for name in sys.argv[2:]:
        uses.note(*name.split("/"))
    print("noted", flush=True)
    sys.stdin.readline()
"""


def test_what_a_live_run_uses_stays_and_after_it_was_killed_goes(filed: PipelineConfig, tmp_path: Path) -> None:
    used, unused = f"trace/{0:064x}", f"trace/{1:064x}"
    for name in (used, unused):
        fill(filed.store, *name.split("/"))
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", HOLD, filed.store, used], **pipes) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == "noted\n"
        removed = gc(filed, tmp_path)["removed"]
        assert unused in removed
        assert used not in removed
        run.send_signal(signal.SIGKILL)
    assert gc(filed, tmp_path)["removed"] == [used]
    assert [name for name in files_in(filed.store) if name.startswith((".uses/", ".leases/"))] == []


def test_a_collection_in_the_midst_of_a_conversion_leaves_it_alone(
    run_model: Any, model: ModelSpec, few: DatasetSpec, pipeline: PipelineConfig, tmp_path: Path, watched: Any
) -> None:
    """Nothing of it is registered yet, and all of it is older than it is told to keep."""
    perform, removed = watched.perform, []

    def collecting_first(request: Any, *arguments: Any) -> Any:
        if request.stage in ("convert", "report"):
            removed.extend(gc(pipeline, tmp_path)["removed"])
        return perform(request, *arguments)

    # It has a registry already.
    from roastery.registry.catalog import Catalog

    Catalog(pipeline.tracking_uri).client.search_registered_models()
    watched.perform = collecting_first
    outcome = outcome_of(run_model(model, few, pipeline))
    assert outcome.passed
    assert removed == []
    assert set(watched.counts.values()) <= {1, 4}
    assert gc(pipeline, tmp_path)["removed"] == []
    (summary,) = fleet(model, few, pipeline).models
    assert summary.unchanged
