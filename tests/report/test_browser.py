"""A report as a person sees it, in a real browser."""

import shutil
from dataclasses import replace

import pytest

from roastery.report.facts import ReportFacts
from roastery.report.write import write_report
from roastery.results import ParitySummary, StageTiming, VerdictSummary

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("report")]

WIDTHS = (1280, 390)
SCHEMES = ("light", "dark")

# Elements of text whose colour stands out less from what lies behind it than WCAG 2 asks of text (4.5 to 1).
FAINT = """() => {
  const channels = colour => {
    const canvas = document.createElement('canvas').getContext('2d');
    canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = colour => {
    const [r, g, b] = channels(colour).map(v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = element => {
    for (let each = element; each; each = each.parentElement) {
      const colour = getComputedStyle(each).backgroundColor;
      if (channels(colour)[3] > 0) return colour;
    }
    return 'white';
  };
  const faint = [];
  for (const element of document.body.querySelectorAll('*')) {
    const own = [...element.childNodes].some(node => node.nodeType === 3 && node.textContent.trim());
    if (!own || element.closest('svg')) continue;
    const [one, two] = [light(getComputedStyle(element).color), light(behind(element))].sort((a, b) => b - a);
    if ((one + 0.05) / (two + 0.05) < 4.5) faint.push(element.outerHTML.slice(0, 120));
  }
  return faint;
}"""


@pytest.fixture(scope="module")
def chromium():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            # A container's root has no sandbox; what is opened is our own.
            executable_path=shutil.which("chromium"),
            args=["--no-sandbox"],
        )
        yield browser
        browser.close()


@pytest.fixture
def look(chromium):
    """Open a page in a window of a width and a colour scheme; what went wrong is listed in `page.troubles`."""
    contexts = []

    def open_page(file, width=1280, scheme="light"):
        context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.troubles = []
        page.on("console", lambda message: page.troubles.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: page.troubles.append(f"error: {error}"))
        page.on("dialog", lambda dialog: page.troubles.append(f"dialog: {dialog.message}"))
        page.on("request", lambda request: request.url.startswith("data:") or page.troubles.append(request.url))
        page.goto(file.as_uri(), wait_until="load")
        assert page.troubles.pop(0) == file.as_uri()
        return page

    yield open_page
    for context in contexts:
        context.close()


def assert_sound(page, width):
    assert page.troubles == []
    images = page.evaluate("[...document.images].map(image => [image.complete, image.naturalWidth])")
    assert images
    assert all(complete and natural > 0 for complete, natural in images)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.evaluate("document.body.scrollWidth") <= width


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_the_report_of_a_conversion_is_sound_in_every_window(look, conversion, width, scheme):
    page = look(conversion.folder / "report.html", width, scheme)

    assert_sound(page, width)
    assert page.evaluate(FAINT) == []
    assert page.locator("h1").inner_text().startswith("Passed")
    assert page.locator("main section h2").all_inner_texts() == [
        "Verdict",
        "AP",
        "Precision and recall",
        "Side by side",
        "Parity",
        "Latency",
        "Stages",
        "The net",
        "Provenance",
        "Reproduce it",
    ]
    for drawing in page.locator("svg").all():
        box = drawing.bounding_box()
        assert 300 <= box["width"] <= width - 40
        assert box["height"] > 200
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor") != "rgb(246, 247, 249)"
    assert dark is (scheme == "dark")
    # The lines of a drawing have the scheme's colours, and are there.
    strokes = page.evaluate("[...document.querySelectorAll('svg path')].map(path => getComputedStyle(path).stroke)")
    assert ("rgb(86, 180, 233)" if scheme == "dark" else "rgb(0, 114, 178)") in strokes


@pytest.fixture
def hostile_report(tmp_path, make_evaluation, hostile, drawn):
    """A report in which every name from outside is hostile."""
    nasty = " ".join(hostile)
    endless = "x" * 300
    metrics = {"bbox": {"AP": 50.0, f"AP-{nasty}": 1.0, f"AP-{endless}": None} | {f"AP-{n}": 1.0 for n in range(20)}}
    parity = ParitySummary(passed=False, images=4, differences=(nasty,), largest={nasty: 0.1}, runtime="torch")
    evaluation = make_evaluation(
        model=nasty,
        dataset=nasty,
        metrics={"original": metrics, "torch": metrics},
        failed_images=(nasty, endless),
        parity=(parity,),
        verdicts={"torch": VerdictSummary(passed=False, reasons=(nasty, endless), deltas={})},
        passed=False,
        judged_by="torch",
    )
    facts = ReportFacts(
        meta_architecture=nasty,
        operators={nasty: 3, endless: 1},
        sizes={nasty: 1},
        digests={nasty: nasty},
        sources={nasty: nasty},
        versions={endless: endless},
        timings=(StageTiming(stage=nasty, seconds=1.0, peak_memory_mb=1.0, cached=False),),
        weights=nasty.replace("/", "\\"),
    )
    picture, curve = drawn
    path = write_report(tmp_path, evaluation, facts, [replace(picture, file=nasty)], [curve])
    return path.with_suffix(".html")


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_hostile_names_are_seen_as_text_and_nothing_of_them_runs(look, hostile_report, hostile, width, scheme):
    page = look(hostile_report, width, scheme)

    assert_sound(page, width)
    assert page.evaluate(FAINT) == []
    assert page.evaluate("window.hacked") is None
    assert page.locator("script").count() == 0
    assert page.locator("style").count() == 1
    nasty = " ".join(hostile)
    assert page.title() == f"{nasty}: failed"
    for place in (
        ".model",
        ".lead",
        ".verdict li",
        "#ap details",
        "#failed-images",
        "#parity",
        "#stages",
        "#net",
        "#side-by-side figcaption",
    ):
        assert nasty in page.locator(place).first.text_content(), place
    assert page.locator(".model").is_visible()
    assert page.locator("img").get_attribute("alt").startswith(nasty)


def test_nothing_runs_even_where_a_name_came_through(look, hostile_report):
    """The page's policy, should a form ever forget to escape: what is written into it is shown, and does nothing."""
    text = hostile_report.read_text()
    evil = "<script>window.hacked=1</script><img src=x onerror='window.hacked=2'><img src='http://127.0.0.1:9/y'>"
    hostile_report.write_text(text.replace("<main>", f"<main>{evil}"))

    page = look(hostile_report)

    assert page.evaluate("window.hacked") is None
    assert sum("violates the following Content Security Policy" in trouble for trouble in page.troubles) >= 3


def test_a_long_table_opens_and_prints_open(look, hostile_report):
    page = look(hostile_report)
    details = page.locator("details")
    row = details.locator("tbody tr").first

    assert not row.is_visible()
    details.locator("summary").click()
    assert row.is_visible()
    details.locator("summary").click()
    page.emulate_media(media="print")
    assert row.is_visible()
    assert not page.locator("nav").is_visible()
