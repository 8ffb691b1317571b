"""What MLflow's pages show of a conversion in a real browser: where it came from, how good it is, and where to look on.

`ROASTERY_SCREENSHOTS=docs` leaves the pictures of the docs there.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("ui"), pytest.mark.timeout(400)]

NAME = "boxes.caffe2"


@dataclass(frozen=True)
class Filed:
    """A source that was registered and converted, as the client tells it."""

    flow_run: str
    version: Any
    run: Any
    source: Any
    """The source's version."""


@pytest.fixture(scope="module")
def filed(up: Any) -> Filed:
    said = up.run("register", "--pipeline", f"{up.configs}/pipeline.yaml", f"{up.configs}/models/boxes.yaml")
    # And none of what MLflow would say beside it.
    assert said == "boxes version 1: registered\n"
    flow_run = up.trigger("convert_model/convert-model", model="models:/boxes/1")
    over = up.await_final(flow_run)
    assert over["state"]["message"] == f"version 1 of {NAME}", up.said()
    version = up.client.get_model_version(NAME, "1")
    return Filed(flow_run, version, up.client.get_run(version.run_id), up.client.get_model_version("boxes", "1"))


@pytest.fixture(scope="module")
def page(up: Any, browse: Any, filed: Filed) -> Any:
    page = browse(up.mlflow)
    page.goto(up.mlflow)
    # An assistant that takes a quarter of each page.
    page.get_by_role("button", name="Close", exact=True).click()
    return page


@pytest.fixture
def opened(up: Any, page: Any) -> Callable[[str, str], Any]:
    """`opened(place, text)`: the page of that place, as high as all that is on it, when it shows the text."""

    def open_page(place: str, text: str) -> Any:
        page.set_viewport_size({"width": 1400, "height": 3000})
        # Not the page that was there, with what was opened on it.
        page.goto("about:blank")
        page.goto(f"{up.mlflow}/#{place}?workflowType=machine_learning")
        page.get_by_text(text).first.wait_for()
        return page

    return open_page


@pytest.fixture
def run_page(opened: Any, filed: Filed) -> Any:
    page = opened(f"/experiments/{filed.run.info.experiment_id}/runs/{filed.version.run_id}", "Logged models (2)")
    # The description is cut short at first.
    page.get_by_text("Show more").first.click()
    page.get_by_text("Show less").wait_for()
    return page


def rows(page: Any) -> list[list[str]]:
    """The cells of each row of the page's tables."""
    cells = "td, [role=cell], [role=gridcell]"
    return [
        [" ".join(cell.split()) for cell in row.locator(cells).all_inner_texts()]
        for row in page.get_by_role("row").all()
    ]


def leads(page: Any, name: str) -> str:
    """Where the first link of that name leads."""
    return str(page.get_by_role("link", name=name, exact=True).first.get_attribute("href"))


def test_a_runs_page_shows_dataset_and_source_as_inputs_and_the_converted_model_as_output(
    run_page: Any, filed: Filed, picture: Any
) -> None:
    (source,) = [row for row in rows(run_page) if "Input" in row]
    (converted,) = [row for row in rows(run_page) if "Output" in row]
    digest = filed.run.inputs.dataset_inputs[0].dataset.digest
    # A mark with its colour stands before each name.
    assert [source[2].split()[-1], source[5]] == ["boxes", "boxes v1"]
    assert [converted[2].split()[-1], *converted[5:]] == ["boxes_caffe2", f"{NAME} v1", f"few (#{digest})"]
    run_page.get_by_text(f"few ({digest})").wait_for()
    (given,) = filed.run.inputs.model_inputs
    assert leads(run_page, "boxes").endswith(f"/models/{given.model_id}")
    assert given.model_id == filed.source.tags["model_id"]
    assert leads(run_page, "boxes_caffe2").endswith(f"/models/{filed.version.tags['model_id']}")
    # So few of them that all of the page is in one picture.
    run_page.get_by_placeholder("Search metrics").fill("bbox/AP50")
    run_page.get_by_placeholder("Search parameters").fill("sha256")
    run_page.set_viewport_size({"width": 1440, "height": 1330})
    picture(run_page, "mlflow-run")


def test_a_runs_description_has_the_verdict_the_figures_the_command_and_the_way_to_the_run_in_prefect(
    up: Any, run_page: Any, filed: Filed
) -> None:
    run_page.get_by_text("passed, judged by torch on 4 images of few.").wait_for()
    assert ["ap_bbox", f"{filed.run.data.metrics['ap_bbox']:.3f}"] in rows(run_page)
    command = run_page.locator("pre").filter(has_text="roastery convert").inner_text()
    assert "--config-file config.yaml --output reproduced --run-eval --runtime torch" in command
    link = leads(run_page, "prefect.flow_run_url")
    assert link == f"{up.prefect}/runs/flow-run/{filed.flow_run}"


def test_a_runs_page_has_the_metrics_of_quality_first_each_with_the_model_that_it_is_of(run_page: Any) -> None:
    shown = run_page.inner_text("body")
    assert shown.index("torch/bbox/AP") < shown.index("seconds/trace")
    assert ["passed", "1", "boxes_caffe2"] in rows(run_page)


def test_a_runs_artifacts_are_the_report_and_the_drawing_which_are_shown(run_page: Any) -> None:
    run_page.get_by_role("tab", name="Artifacts").click()
    run_page.get_by_text("model.svg", exact=True).click()
    drawing = run_page.locator("img[src^=blob]").first
    drawing.wait_for()
    assert drawing.evaluate("image => image.decode().then(() => image.naturalWidth)") > 100
    run_page.get_by_text("report", exact=True).first.click()
    run_page.get_by_text("report.md", exact=True).click()
    run_page.get_by_role("heading", name="boxes").first.wait_for()
    for name in ("report.html", "report-curves-bbox.svg", "config.yaml", "reproduce.sh", "conversion.json"):
        assert run_page.get_by_text(name, exact=True).count() == 1


def test_a_versions_page_shows_its_tags_and_its_alias_and_leads_to_the_run(opened: Any, filed: Filed) -> None:
    page = opened(f"/models/{NAME}/versions/1", "Source Run")
    page.get_by_text("candidate").wait_for()
    shown = [row[:2] for row in rows(page)]
    for name in ("verdict", "judged_by", "source_sha256", "ap_delta_bbox"):
        assert [name, filed.version.tags[name]] in shown
    page.get_by_role("link", name="boxes", exact=True).click()
    page.get_by_text("Logged models (2)").wait_for()
    assert f"/runs/{filed.version.run_id}" in page.url


def test_a_logged_models_page_shows_its_version_its_metrics_and_the_dataset_that_they_are_of(
    opened: Any, filed: Filed, picture: Any
) -> None:
    experiment = filed.run.info.experiment_id
    page = opened(f"/experiments/{experiment}/models/{filed.version.tags['model_id']}", "About this logged model")
    assert leads(page, NAME).endswith(f"/models/{NAME}/versions/1")
    assert leads(page, filed.version.run_id).endswith(f"/runs/{filed.version.run_id}")
    digest = filed.run.inputs.dataset_inputs[0].dataset.digest
    figure = filed.run.data.metrics["torch/bbox/AP50"]
    assert ["torch/bbox/AP50", f"few (#{digest})", "boxes", str(figure)] in rows(page)
    page.set_viewport_size({"width": 1280, "height": 640})
    picture(page, "mlflow-model")


def test_a_sources_page_shows_its_version_and_leads_to_its_registration(opened: Any, filed: Filed) -> None:
    experiment = filed.run.info.experiment_id
    page = opened(f"/experiments/{experiment}/models/{filed.source.tags['model_id']}", "About this logged model")
    assert leads(page, filed.source.run_id).endswith(f"/runs/{filed.source.run_id}")
    page.get_by_text("boxes registered").first.wait_for()
    page.get_by_text("v1", exact=True).first.wait_for()
