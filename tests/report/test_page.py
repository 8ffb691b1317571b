"""The HTML form of a report, as its text says it; `test_browser` looks at it."""

import re
from html.parser import HTMLParser
from itertools import pairwise

import pytest

from roastery.report.facts import ReportFacts
from roastery.results import StageTiming, VerdictSummary

VOID = {"meta", "img", "br", "hr", "link", "input"}


class Outline(HTMLParser):
    """A page taken apart: its elements, and the text in each kind of element."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.open, self.texts = [], [], {}
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)
            self.texts.setdefault(tag, []).append("")

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        for tag in self.open:
            self.texts[tag][-1] += data

    def named(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture
def facts():
    return ReportFacts(
        meta_architecture="GeneralizedRCNN",
        operators={"Conv": 60, "Relu": 20},
        sizes={"model.pb": 250_000},
        digests={"model.pb": "ab" * 32},
        sources={"checkpoint": "50" * 32},
        versions={"torch": "2.13.0"},
        timings=(
            StageTiming(stage="trace", seconds=5.0, peak_memory_mb=800.0, cached=False),
            StageTiming(stage="sample", seconds=1.0, peak_memory_mb=400.0, cached=True),
        ),
        weights="model_final.pkl",
    )


def test_a_page_is_whole_and_fetches_and_executes_nothing(page, evaluation, facts, drawn):
    picture, curve = drawn
    text = page(evaluation, facts, [picture], [curve])
    outline = Outline(text)

    assert text.startswith('<!DOCTYPE html>\n<html lang="en">')
    (policy,) = [meta["content"] for meta in outline.named("meta") if "http-equiv" in meta]
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'unsafe-inline';")
    assert {tag for tag, _ in outline.elements} & {"script", "link", "iframe", "object", "form", "base"} == set()
    for _, attributes in outline.elements:
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "href", "xlink:href"):
            assert re.match("(#|data:image/png;base64,)", attributes.get(name, "#")), attributes
    assert not re.search(r"@import|url\((?!#)", text)


def test_a_page_can_be_read_by_who_does_not_see_it(page, evaluation, facts, drawn):
    picture, curve = drawn
    outline = Outline(page(evaluation, facts, [picture], [curve]))

    levels = [int(tag[1]) for tag, _ in outline.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert [image["alt"] for image in outline.named("img")] == [
        "000_1.jpg, detections of: original, torch runtime, genuine Caffe2"
    ]
    assert [drawing["aria-label"] for drawing in outline.named("svg")] == [
        "Precision over recall of box detections at IoU 0.50, IoU 0.75, IoU 0.50:0.95: original, torch runtime"
    ]
    assert len(outline.named("caption")) == len(outline.named("table")) > 5
    assert {header["scope"] for header in outline.named("th")} == {"row", "col"}
    ids = [attributes["id"] for _, attributes in outline.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {link["href"][1:] for link in outline.named("a")} <= set(ids)


def test_the_verdict_is_the_first_that_is_said(page, make_evaluation):
    reason = "bbox/AP: 62.000 became 52.000, which differs by -10.000; allowed is 0.1"
    verdicts = {"caffe2": VerdictSummary(passed=False, reasons=(reason,), deltas={})}

    failed = Outline(page(make_evaluation(passed=False, verdicts=verdicts)))
    passed = Outline(page(make_evaluation()))

    assert failed.texts["title"] == ["mask_rcnn_r50: failed"]
    assert failed.texts["h1"] == ["Failed: mask_rcnn_r50"]
    assert f"genuine Caffe2: {reason}" in failed.texts["header"][0]
    assert passed.texts["h1"] == ["Passed: mask_rcnn_r50"]
    assert "box AP 62.47 beside 62.47" in passed.texts["header"][0]


def test_both_forms_say_the_same(page, make_evaluation, facts, tmp_path):
    """Every cell of every table of one form is a cell of the other's, marks and all."""
    metrics = make_evaluation().metrics
    metrics["torch"]["bbox"] = {"AP": 60.0, "APl": None, "AP-circle": 69.5}
    outline = Outline(page(make_evaluation(metrics=metrics), facts))
    rows = [line for line in (tmp_path / "report.md").read_text().splitlines() if re.match(r"\| (?!---)", line)]
    told = [re.sub(r"[*`]", "", cell.strip()) for row in rows for cell in row.strip("|").split(" | ")]

    cells = [text.strip().replace("\xa0", " ") for tag in ("th", "td") for text in outline.texts[tag]]

    assert sorted(cells) == sorted(told)
    assert len(cells) > 80


def test_long_tables_are_folded_away_and_say_how_much_is_marked_in_them(page, make_evaluation):
    before = {"AP": 50.0} | {f"AP-class{index}": 50.0 for index in range(80)}
    after = before | {"AP-class41": 40.0, "AP-class7": None}
    pages = [
        Outline(page(make_evaluation(metrics={"original": {"bbox": before}, "torch": {"bbox": each}})))
        for each in (before, after)
    ]

    assert [outline.texts["summary"] for outline in pages] == [
        ["Box AP of 80 classes"],
        ["Box AP of 80 classes, 2 marked"],
    ]
    assert "class79" in pages[0].texts["details"][0]


def test_no_name_brings_markup(page, make_evaluation, facts, hostile):
    plain = {tag for tag, _ in Outline(page(make_evaluation(failed_images=("a",)), facts)).elements}
    nasty = " ".join(hostile) + "\n\u202eturned"
    metrics = {"bbox": {"AP": 1.0, f"AP-{nasty}": 1.0, "AP-other": 1.0}}
    evaluation = make_evaluation(
        model=nasty, dataset=nasty, metrics={"original": metrics, "torch": metrics}, failed_images=(nasty,)
    )
    told = ReportFacts(sources={nasty: nasty}, versions={nasty: nasty}, operators={nasty: 1}, weights=nasty)

    outline = Outline(page(evaluation, told))

    assert {tag for tag, _ in outline.elements} <= plain
    seen = nasty.replace("\n", " ").replace("\u202e", "\ufffd")
    assert seen in outline.texts["title"][0]
    assert seen in outline.texts["th"]
    assert seen in outline.texts["td"]
    assert any(seen in text for text in outline.texts["li"])


def test_an_empty_report_is_a_page_too(page, make_evaluation):
    evaluation = make_evaluation(metrics={}, latency={}, parity=(), verdicts={}, passed=False)

    outline = Outline(page(evaluation))

    assert "No runtime judged the converted model." in outline.texts["header"][0]
