"""The Prefect UI of `roastery up` in a real browser: the form is filled in, the run goes on, its table is found.

`ROASTERY_SCREENSHOTS=docs` leaves the pictures of the docs there.
"""

import json
from typing import Any

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("ui"), pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def page(up: Any, browse: Any) -> Any:
    return browse(up.prefect)


@pytest.fixture
def form(up: Any, page: Any) -> Any:
    """The form of `convert-fleet`, with a glob of two models: `boxes`, and `broken`, whose weights are not there."""
    deployment = up.deployment("convert_fleet/convert-fleet")
    page.goto(f"{up.prefect}/deployments/deployment/{deployment['id']}/run")
    page.get_by_text("Add item").first.click()
    # The item's own field comes before that of `configs`.
    page.locator("textarea").nth(1).wait_for()
    page.locator("textarea").first.fill("b*")
    return page


def fleets(up: Any) -> list[Any]:
    """The runs of fleets that were started."""
    content = {"flows": {"name": {"any_": ["convert_fleet"]}}, "flow_runs": {"start_time": {"is_null_": False}}}
    return list(up.ask("/flow_runs/filter", content))


def offered(page: Any, current: str) -> Any:
    """The choices of the field that has this one now."""
    page.get_by_role("button", name=current, exact=True).focus()
    page.keyboard.press("Space")
    page.get_by_role("option").first.wait_for()
    return page.get_by_role("option")


def fill_figure(page: Any, kind: str, figure: str) -> None:
    """Fill the first field that may be empty, of that kind of figure."""
    page.get_by_role("button", name=kind, exact=True).first.click()
    page.locator("input[type=number]").first.fill(figure)
    # The form takes it when it is left.
    page.keyboard.press("Tab")


def test_what_is_beyond_a_limit_is_refused_and_nothing_is_started(form: Any, up: Any) -> None:
    fill_figure(form, "float", "101")
    form.get_by_role("button", name="Submit").click()
    form.get_by_text("101 is not valid under any of the given schemas").wait_for()
    assert fleets(up) == []


def test_the_form_says_what_each_field_is_and_offers_the_choices(form: Any) -> None:
    for said in (
        "Names of registered models, or globs such as mask_*; or sources in the registry, as",
        "Models that carry all of these tags.",
        "How many AP points (0..100) a converted model may differ by. Empty: as its gate says.",
    ):
        form.get_by_text(said).wait_for()
    assert offered(form, "as registered").all_inner_texts() == ["as registered", "auto", "torch", "caffe2", "both"]


def test_a_fleet_started_by_the_form_is_found_with_its_table(form: Any, up: Any, picture: Any) -> None:
    offered(form, "new or changed").get_by_text("all", exact=True).click()
    fill_figure(form, "float", "0.5")
    picture(form, "service-form")
    form.get_by_role("button", name="Submit").click()
    form.get_by_text("scheduled to start now").first.wait_for()
    (run,) = up.await_that(lambda: [run for run in fleets(up) if run["state"]["type"] in ("COMPLETED", "FAILED")])
    assert run["parameters"]["models"] == ["b*"]
    assert run["parameters"]["max_ap_delta"] == 0.5
    children = up.ask("/flow_runs/filter", {"flow_runs": {"parent_flow_run_id": {"any_": [run["id"]]}}})
    assert {child["name"] for child in children} == {"convert boxes", "convert broken"}

    form.goto(f"{up.prefect}/runs/flow-run/{run['id']}")
    form.get_by_text("convert all models").first.wait_for()
    form.locator("#subflow-runs").click()
    form.get_by_text("convert boxes").first.wait_for()
    form.locator("#artifacts").click()
    form.get_by_text("1 of 2 models passed.").first.wait_for()
    form.set_viewport_size({"width": 1700, "height": 560})
    table = up.artifact("fleet", run["id"])
    form.goto(f"{up.prefect}/artifacts/artifact/{table['id']}")
    form.get_by_text("boxes", exact=True).wait_for()
    good, bad = json.loads(table["data"])
    # A link is one that can be clicked, and a reason is text, whatever stands in it.
    assert good["link"] == f"[in MLflow]({form.locator('td a').get_attribute('href')})"
    assert form.locator("td code").count() == 2
    for shown in (good["AP original"], good["AP converted"], "passed (torch)", "failed in resolve"):
        assert form.get_by_text(str(shown), exact=True).count() >= 1
    assert bad["reason"].startswith("`/srv/models/broken.pkl: no such checkpoint")
    form.get_by_text("/srv/models/broken.pkl: no such checkpoint").wait_for()
    picture(form, "service-fleet")
