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
    ports = [free_port(), free_port()]
    command = ["up", "--home", str(folder / "home"), "--configs", str(configs)]
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
