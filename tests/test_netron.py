"""Netron, PyPI's, opens a converted model: its graph is seen in a real browser."""

import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import netron
import pytest
from playwright.sync_api import Route, expect, sync_playwright

from roastery.caffe2.nets import load_nets

pytestmark = pytest.mark.browser

WITHIN_MS = 60_000


def stay_here(route: Route) -> None:
    """Let nothing leave the machine: Netron asks elsewhere which country this is."""
    if route.request.url.startswith("http://127.0.0.1:"):
        route.continue_()
    else:
        route.abort()


def test_netron_shows_the_graph_of_a_converted_model(mask_model: Path, converted: Callable[[str], Path]) -> None:
    folder = converted(mask_model.name)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        address = probe.getsockname()[:2]
    netron.start(str(folder / "model.pb"), address=address, browse=False)
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            page = browser.new_page()
            page.route("**/*", stay_here)
            page.goto(f"http://127.0.0.1:{address[1]}/")
            page.get_by_role("button", name="Accept").click(timeout=WITHIN_MS)
            net = load_nets(folder).predict_net
            for operator in ("GenerateProposals", "BoxWithNMSLimit", "RoIAlign", "ConvTranspose"):
                count = sum(each.type == operator for each in net.op)
                assert count > 0
                expect(page.get_by_text(operator, exact=True)).to_have_count(count, timeout=WITHIN_MS)
            for blob in ("data", "im_info", *net.external_output):
                expect(page.get_by_text(blob, exact=True).first).to_be_attached(timeout=WITHIN_MS)
            browser.close()
    finally:
        netron.stop(address)
