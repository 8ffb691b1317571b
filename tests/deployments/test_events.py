"""What a re-evaluation tells a Prefect server: the automation of the docs, made there, acts on what failed alone."""

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

# Of those in a browser: they share what `roastery up` started.
pytestmark = [pytest.mark.xdist_group("ui"), pytest.mark.timeout(400)]

DOCS = Path(__file__).parent.parent.parent / "docs"
MODEL, NAME = "shown", "shown.caffe2"
AGAIN = "reevaluate_model/reevaluate-model"
CONVERT = "convert_model/convert-model"


@dataclass(frozen=True)
class Measured:
    """A model that was converted, is in production, and was measured again twice: before and after an image broke."""

    passed: Any
    failed: Any
    """The flow runs, when they were over."""


@pytest.fixture(scope="module")
def images(up: Any) -> Path:
    """The model's own images, which it was evaluated on."""
    dataset = yaml.safe_load((up.configs / "datasets" / "few.yaml").read_text())
    folder = up.folder / "images"
    folder.mkdir()
    for record in json.loads(Path(dataset["annotations"]).read_text())["images"]:
        shutil.copy(Path(dataset["images"]) / record["file_name"], folder)
    own = dataset | {"name": MODEL, "images": str(folder)}
    (up.configs / "datasets" / f"{MODEL}.yaml").write_text(yaml.safe_dump(own))
    model = yaml.safe_load((up.configs / "models" / "boxes.yaml").read_text())
    (up.configs / "models" / f"{MODEL}.yaml").write_text(yaml.safe_dump(model | {"name": MODEL, "dataset": MODEL}))
    return folder


@pytest.fixture(scope="module")
def measured(up: Any, images: Path) -> Measured:
    converted = up.await_final(up.trigger(CONVERT, model=MODEL))
    assert converted["state"]["message"] == f"version 1 of {NAME}", up.said()
    up.run("promote", MODEL, "--reason", "a week in staging", "--pipeline", str(up.configs / "pipeline.yaml"))
    up.python("-c", automation_of_the_docs())
    passed = up.await_final(up.trigger(AGAIN, model=MODEL))
    up.await_that(lambda: events(up, "passed"))
    broken = sorted(images.iterdir())[1]
    broken.write_bytes(broken.read_bytes()[:1000])
    failed = up.await_final(up.trigger(AGAIN, model=MODEL))
    return Measured(passed, failed)


def automation_of_the_docs() -> str:
    """The one snippet of "Run it as a service" that makes an automation."""
    (snippet,) = re.findall(
        r'```python title="convert_what_fails.py"\n(.*?)```', (DOCS / "how-to" / "run-a-service.md").read_text(), re.S
    )
    return str(snippet)


def events(up: Any, ended: str) -> list[Any]:
    """What the server was told of re-evaluations that ended so."""
    return list(up.ask("/events/filter", {"filter": {"event": {"name": [f"roastery.reevaluation.{ended}"]}}})["events"])


def started_by_the_automation(up: Any) -> list[Any]:
    (automation,) = [each for each in up.ask("/automations/filter", {}) if each["name"] == "convert what fails"]
    runs = up.ask("/flow_runs/filter", {"flow_runs": {"tags": {"all_": ["roastery"]}}})
    return [run for run in runs if (run["created_by"] or {}).get("id") == automation["id"]]


def test_an_automation_acts_when_a_model_fails_and_not_when_it_passes(up: Any, measured: Measured) -> None:
    assert measured.passed["state"]["message"] == "as good as when it was filed"
    assert measured.failed["state"]["message"].startswith("the gate failed: torch: 2 images failed: original: ")
    up.await_that(lambda: started_by_the_automation(up))
    (run,) = started_by_the_automation(up)
    assert run["parameters"]["model"] == MODEL
    assert run["deployment_id"] == up.deployment(CONVERT)["id"]
    # On that image it does not pass either, and is no candidate.
    assert up.await_final(run["id"])["state"]["message"].startswith("the gate failed: ")
    assert len(started_by_the_automation(up)) == 1


def test_an_event_says_which_version_what_was_found_and_what_became_of_its_aliases(up: Any, measured: Measured) -> None:
    (passed,), (failed,) = events(up, "passed"), events(up, "failed")
    for event, run in ((passed, measured.passed), (failed, measured.failed)):
        assert event["resource"] == {
            "prefect.resource.id": f"roastery.model.{MODEL}",
            "prefect.resource.name": MODEL,
            "roastery.version": "1",
        }
        assert f"prefect.flow-run.{run['id']}" in [each["prefect.resource.id"] for each in event["related"]]
        assert (event["payload"]["model"], event["payload"]["version"]) == (NAME, 1)
        assert event["payload"]["judged_by"] == "torch"
    assert (passed["payload"]["passed"], passed["payload"]["reasons"]) == (True, [])
    assert passed["payload"]["differences"] == {"bbox": 0.0}
    assert (passed["payload"]["aliases_taken"], passed["payload"]["aliases_kept"]) == ([], ["candidate", "production"])
    assert failed["payload"]["passed"] is False
    assert "cannot be read as an image" in " ".join(failed["payload"]["reasons"])
    assert (failed["payload"]["aliases_taken"], failed["payload"]["aliases_kept"]) == (["candidate"], ["production"])


def test_each_run_has_a_table_of_its_figures_and_its_reasons(up: Any, measured: Measured) -> None:
    for run, ended in ((measured.passed, "passed"), (measured.failed, "failed its gate")):
        table = up.artifact(f"reevaluation-{MODEL}", run["id"])
        assert table["type"] == "table"
        (row,) = json.loads(table["data"])
        assert (row["figure"], row["verdict"]) == ("bbox AP", ended)
        assert table["description"].startswith(f"# {NAME} again: {ended}")
    assert "cannot be read as an image" in table["description"]


def test_the_version_is_no_candidate_any_more_and_what_people_call_it_stays(up: Any, measured: Measured) -> None:
    aliases = up.client.get_registered_model(NAME).aliases
    assert {alias: int(version) for alias, version in aliases.items()} == {"production": 1}
    version = up.client.get_model_version(NAME, "1")
    assert (version.tags["verdict"], version.tags["reevaluation"]) == ("passed", "failed")


def test_mlflow_and_the_history_say_why(up: Any, measured: Measured) -> None:
    (failed,) = events(up, "failed")
    run = up.client.get_run(failed["payload"]["run"].rsplit("/", 1)[1])
    note = run.data.tags["mlflow.note.content"]
    assert note.startswith(f"`{NAME} version 1`, measured again.\n\n**failed**, judged by torch on ")
    assert "cannot be read as an image" in note
    assert f"({up.prefect}/runs/flow-run/{measured.failed['id']})" in note
    told = up.run("history", MODEL, "--pipeline", str(up.configs / "pipeline.yaml"))
    assert f"candidate: version 1 to none: failed when measured again in {run.info.run_id} (roastery)" in told
    assert "production: none to version 1: a week in staging" in told
