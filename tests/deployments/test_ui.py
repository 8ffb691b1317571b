"""The Prefect UI of `roastery up` in a real browser: the form is filled in, the run goes on, its table is found.

`ROASTERY_SCREENSHOTS=docs` leaves the pictures of the docs there.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("ui"), pytest.mark.timeout(400)]

PATIENCE_SECONDS = 120.0
SCREENSHOTS = os.environ.get("ROASTERY_SCREENSHOTS")


@pytest.fixture(scope="module")
def prefect(configs: Path, free_port: Callable[[], int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Prefect server that `roastery up` started, with the deployments served."""
    folder = tmp_path_factory.mktemp("ui")
    shutil.copytree(configs, folder / "configs")
    broken = (folder / "configs" / "models" / "boxes.yaml").read_text().replace("name: boxes", "name: broken")
    broken = re.sub("weights: .*", "weights: /srv/models/broken.pkl", broken)
    (folder / "configs" / "models" / "broken.yaml").write_text(broken)
    ports = [free_port(), free_port()]
    command = ["up", "--home", str(folder / "home"), "--configs", str(folder / "configs")]
    command += ["--prefect-port", str(ports[0]), "--mlflow-port", str(ports[1])]
    with (folder / "said.txt").open("w+b") as said:
        up = subprocess.Popen(
            [sys.executable, "-m", "cli.main", *command],
            stdout=said,
            stderr=subprocess.STDOUT,
            env=os.environ | {"ROASTERY_STORE": str(folder / "store"), "COLUMNS": "200"},
            start_new_session=True,
        )
        try:
            deadline = time.monotonic() + PATIENCE_SECONDS
            while "Ctrl-C ends it" not in (folder / "said.txt").read_text():
                assert up.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.1)
            yield f"http://127.0.0.1:{ports[0]}"
        finally:
            up.send_signal(signal.SIGTERM)
            try:
                up.wait(60)
            except subprocess.TimeoutExpired:
                for process in psutil.Process(up.pid).children(recursive=True):
                    process.kill()
                up.kill()
                raise


def ask(address: str, content: Any = None) -> Any:
    body = None if content is None else json.dumps(content).encode()
    request = urllib.request.Request(address, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


@pytest.fixture(scope="module")
def page(prefect: str) -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        context = browser.new_context(viewport={"width": 1280, "height": 1000})
        # Nothing is asked of anybody else.
        context.route(lambda address: not address.startswith(prefect), lambda route: route.abort())
        page = context.new_page()
        page.set_default_timeout(30_000)
        yield page
        browser.close()


@pytest.fixture
def form(prefect: str, page: Any) -> Any:
    """The form of `convert-fleet`, with a glob of two models: `boxes`, and `broken`, whose weights are not there."""
    deployment = ask(f"{prefect}/api/deployments/name/convert_fleet/convert-fleet")
    page.goto(f"{prefect}/deployments/deployment/{deployment['id']}/run")
    page.get_by_text("Add item").first.click()
    # The item's own field comes before that of `configs`.
    page.locator("textarea").nth(1).wait_for()
    page.locator("textarea").first.fill("b*")
    return page


def runs_of(prefect: str, flow: str) -> list[Any]:
    content = {"flows": {"name": {"any_": [flow]}}, "flow_runs": {"start_time": {"is_null_": False}}}
    return list(ask(f"{prefect}/api/flow_runs/filter", content))


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


def picture(page: Any, name: str) -> None:
    if SCREENSHOTS:
        page.screenshot(path=f"{SCREENSHOTS}/{name}.png")


def test_what_is_beyond_a_limit_is_refused_and_nothing_is_started(form: Any, prefect: str) -> None:
    fill_figure(form, "float", "101")
    form.get_by_role("button", name="Submit").click()
    form.get_by_text("101 is not valid under any of the given schemas").wait_for()
    assert runs_of(prefect, "convert_fleet") == []


def test_the_form_says_what_each_field_is_and_offers_the_choices(form: Any) -> None:
    for said in (
        "Names of registered models, or globs such as mask_*. None: all.",
        "Models that carry all of these tags.",
        "How many AP points (0..100) a converted model may differ by. Empty: as its gate says.",
    ):
        form.get_by_text(said).wait_for()
    assert offered(form, "as registered").all_inner_texts() == ["as registered", "auto", "torch", "caffe2", "both"]


def test_a_fleet_started_by_the_form_is_found_with_its_table(form: Any, prefect: str) -> None:
    offered(form, "new or changed").get_by_text("all", exact=True).click()
    fill_figure(form, "float", "0.5")
    picture(form, "service-form")
    form.get_by_role("button", name="Submit").click()
    form.get_by_text("scheduled to start now").first.wait_for()
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not [run for run in runs_of(prefect, "convert_fleet") if run["state"]["type"] in ("COMPLETED", "FAILED")]:
        assert time.monotonic() < deadline, runs_of(prefect, "convert_fleet")
        time.sleep(0.5)
    (run,) = runs_of(prefect, "convert_fleet")
    assert run["parameters"]["models"] == ["b*"]
    assert run["parameters"]["max_ap_delta"] == 0.5
    assert {child["name"] for child in runs_of(prefect, "convert_model")} == {"boxes to Caffe2", "broken to Caffe2"}

    form.goto(f"{prefect}/runs/flow-run/{run['id']}")
    form.get_by_text("all models to Caffe2").first.wait_for()
    form.locator("#subflow-runs").click()
    form.get_by_text("boxes to Caffe2").first.wait_for()
    form.locator("#artifacts").click()
    form.get_by_text("1 of 2 models passed.").first.wait_for()
    form.set_viewport_size({"width": 1700, "height": 560})
    (table,) = ask(
        f"{prefect}/api/artifacts/filter",
        {"artifacts": {"key": {"any_": ["fleet"]}, "flow_run_id": {"any_": [run["id"]]}}},
    )
    form.goto(f"{prefect}/artifacts/artifact/{table['id']}")
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
