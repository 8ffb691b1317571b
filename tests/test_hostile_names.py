"""Names that somebody else chose.

A spec lets through what is safe wherever it goes, and refuses all else in a line. What a net, a dataset or an image is
called is anything: it is shown as text, and nothing of it runs where it is looked at.
"""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from roastery.caffe2 import caffe2_pb2
from roastery.caffe2.draw import draw_svg
from roastery.data.coco import load_coco
from roastery.errors import ConfigError
from roastery.evaluation.gate import GatePolicy
from roastery.evaluation.side_by_side import Found, judge_side_by_side
from roastery.report.curves import draw_curves
from roastery.report.pictures import draw_comparisons
from roastery.report.write import write_report
from roastery.results import Measures
from roastery.spec import load_datasets, load_models, load_pipeline

HOSTILE = [
    *(
        "../../etc/passwd",
        "/etc/passwd",
        "..",
        ".",
        "~root",
        "-rf",
        "a/b",
        "a\\b",
        "a b/..",
        "a\n",
        "a\nb",
        "\na",
        "a\0",
    ),
    *("<script>alert(1)</script>", "a' OR ''='", 'a"b', "a`b", "$(touch ran)", "%2e%2e%2f", "a;b", "a:b", "a?b", "a#b"),
    *(
        "\u202egnp.a",
        "a\u0000b",
        "\ufeffa",
        "é",
        "\uff41",
        "a\u0301",
        "\u0661",
        "x" * 81,
        "x" * 5000,
        "",
        " ",
        "{{ 7 * 7 }}",
        "a|b",
    ),
]
# Of the characters that mean something somewhere, and of all others.
NAMES = st.text(st.sampled_from("ab1._-/\\ \n\0<>'\"`$;:%&?#|~\u202e\u0301é{}") | st.characters(), max_size=12)

MODEL = {"name": "a", "config": "c.yaml", "weights": "w.pkl", "dataset": "d"}
DATASET = {"name": "d", "images": "images", "annotations": "a.json"}
PLACES: dict[str, tuple[Any, dict[str, Any], str]] = {
    "a model": (load_models, MODEL, "name"),
    "a model's dataset": (load_models, MODEL, "dataset"),
    "a dataset": (load_datasets, DATASET, "name"),
    "an experiment": (load_pipeline, {}, "experiment"),
}


def loaded(folder: Path, place: str, name: str) -> str | None:
    """The name as the spec has it; None where it was refused, in one line that can be printed."""
    load, content, key = PLACES[place]
    path = folder / "a.yaml"
    path.write_text(yaml.safe_dump({**content, key: name}))
    try:
        specs = load(path if load is load_pipeline else folder)
    except ConfigError as error:
        refusal = str(error)
    else:
        spec = specs if load is load_pipeline else next(iter(specs.values()))
        return str(getattr(spec, key))
    assert refusal.isprintable()
    return None


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_name_is_refused(tmp_path: Path, place: str, name: str) -> None:
    assert loaded(tmp_path, place, name) is None


@pytest.mark.parametrize("place", PLACES)
def test_a_name_that_is_let_through_is_safe_in_paths_pages_and_filters(
    tmp_path_factory: pytest.TempPathFactory, place: str
) -> None:
    folder = tmp_path_factory.mktemp("names")
    seen = {"refused": 0, "let through": 0}

    @settings(max_examples=200)
    @given(NAMES)
    @example("mask_rcnn-R50.v2")
    def check(name: str) -> None:
        found = loaded(folder, place, name)
        seen["refused" if found is None else "let through"] += 1
        if found is not None:
            assert found == name
            assert (folder / "store" / name).resolve().parent == folder / "store"
            assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_. -]*", name)

    check()
    assert min(seen.values()) > 0


# What a browser is shown

RUNNING = [
    "<script>window.hacked=1</script>",
    "<img src=x onerror='window.hacked=2'>",
    "\"><svg onload='window.hacked=3'>",
    "</text><script>window.hacked=4</script>",
    "](javascript:window.hacked=5)",
    "{{ 7 * 7 }} ${7 * 7} \\N &#60;b&#62;",
    "a\nb\x1b[31m\u202eturned",
]


def seen(name: str) -> str:
    """A name as a person sees it: on one line, and with a sign for what cannot be seen."""
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in " ".join(name.split()))


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # A container's root has no sandbox; what is opened is our own.
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def look(chromium: Any) -> Iterator[Callable[[Path], Any]]:
    """Open a file; what it asks for, says and throws is listed in `page.troubles`."""
    pages = []

    def open_page(file: Path) -> Any:
        page = chromium.new_page()
        pages.append(page)
        page.troubles = []
        page.on("console", lambda message: page.troubles.append(message.text))
        page.on("pageerror", lambda error: page.troubles.append(str(error)))
        page.on("dialog", lambda dialog: page.troubles.append(dialog.message))
        page.on("request", lambda request: request.url.startswith("data:") or page.troubles.append(request.url))
        page.goto(file.as_uri(), wait_until="load")
        assert page.troubles.pop(0) == file.as_uri()
        return page

    yield open_page
    for page in pages:
        page.close()


@pytest.mark.browser
@pytest.mark.graphviz
@pytest.mark.xdist_group("report")
def test_nothing_of_a_nets_names_runs_where_its_drawing_is_looked_at(
    look: Callable[[Path], Any], tmp_path: Path
) -> None:
    net = caffe2_pb2.NetDef(name=RUNNING[0], external_input=["data"], external_output=RUNNING)
    for name in RUNNING:
        net.op.add(type=name, name=name, input=["data"], output=[name])
    draw_svg(net, tmp_path / "model.svg")

    page = look(tmp_path / "model.svg")

    assert page.troubles == []
    assert page.evaluate("window.hacked") is None
    assert page.evaluate("document.querySelectorAll('script, a, img, foreignObject').length") == 0
    shown = page.evaluate("[...document.querySelectorAll('text')].map(text => text.textContent)")
    for name in RUNNING:
        # A control character is a sign there too; a space stays what it is.
        expected = "".join(letter if letter >= " " else "\ufffd" for letter in name)
        assert sum(text.replace("\xa0", " ") == expected for text in shown) == 3, name


@pytest.mark.browser
@pytest.mark.xdist_group("report")
def test_nothing_of_a_datasets_names_runs_where_its_report_is_looked_at(
    look: Callable[[Path], Any], tmp_path: Path
) -> None:
    """A dataset whose categories and images are called such things, read, judged and reported as any other."""
    images, report = tmp_path / "images", tmp_path / "report"
    images.mkdir()
    report.mkdir()
    files = [f"{name.replace('/', '%2f')}.png" for name in RUNNING]
    for file in files:
        Image.new("RGB", (32, 24)).save(images / file)
    content = {
        "images": [{"id": n, "file_name": file, "width": 32, "height": 24} for n, file in enumerate(files, 1)],
        "categories": [{"id": n, "name": name} for n, name in enumerate(RUNNING, 1)],
        "annotations": [
            {"id": n, "image_id": n, "category_id": n, "bbox": [1, 1, 9, 9], "area": 81, "iscrowd": 0}
            for n in range(1, len(RUNNING) + 1)
        ],
    }
    (tmp_path / "instances.json").write_text(json.dumps(content))
    dataset = load_coco("hostile", images, tmp_path / "instances.json")
    detections = [
        {"image_id": n, "category_id": n, "bbox": [1.0, 1.0, 9.0, 9.0], "score": 0.9}
        for n in range(1, len(RUNNING) + 1)
    ]
    all_ids = [record.id for record in dataset.images]
    found = {
        "original": Found(detections, [1.0], [], len(all_ids)),
        "torch": Found(detections[1:], [1.0], [f"{file}: cannot be read" for file in files[:1]], len(all_ids)),
    }
    judged = judge_side_by_side("a_model", dataset, Measures(iou_types=("bbox",)), found.items(), [], GatePolicy())
    shown = {target: each.detections for target, each in found.items()}
    pictures = draw_comparisons(report, dataset, all_ids, shown, len(files))
    before = sorted(report.parent.rglob("*"))
    path = write_report(report, judged.evaluation, None, pictures, draw_curves(report, judged.curves))

    page = look(path.with_suffix(".html"))

    assert page.troubles == []
    assert page.evaluate("window.hacked") is None
    assert page.locator("script").count() == 0
    text = page.locator("main").text_content()
    captions = [image.get_attribute("alt") for image in page.locator("img").all()]
    assert len(captions) == len(files)
    for name, file in zip(RUNNING, files, strict=True):
        assert seen(name) in text
        assert any(caption.startswith(seen(file)) for caption in captions), file
    markdown = path.read_text()
    assert "<" not in markdown
    assert not re.search(r"(?<!\\)\]\(javascript", markdown)
    # Pictures have names of their own.
    assert re.findall(r"\]\(([^)]*\.png)\)", markdown) == [f"report-{n}.png" for n in range(1, len(files) + 1)]
    made = {path.name for path in report.parent.rglob("*") if path not in before}
    assert made == {"report.md", "report.html", "report-curves-bbox.svg"}
