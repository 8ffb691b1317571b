import math
import re
from pathlib import Path

import pytest

from roastery.report import ReportFacts, escape, write_report
from roastery.report_pictures import Comparison
from roastery.results import Evaluation, LatencySummary, ParitySummary, StageTiming, VerdictSummary


@pytest.fixture
def evaluation():
    return make_evaluation()


def make_evaluation(**changes):
    figures = {
        "model": "mask_rcnn_r50",
        "original_kind": "reference",
        "dataset": "shapes_val",
        "dataset_sha256": "da" * 32,
        "images": 100,
        "failed_images": (),
        "metrics": {
            "original": {"bbox": {"AP": 62.4725, "APl": None, "AP-circle": 70.0}, "segm": {"AP": 65.911}},
            "torch": {"bbox": {"AP": 62.4726, "APl": None, "AP-circle": 69.5}, "segm": {"AP": 65.911}},
            "caffe2": {"bbox": {"AP": 62.4725, "APl": math.nan, "AP-circle": 70.25}, "segm": {"AP": 65.911}},
        },
        "latency": {"original": LatencySummary(median_ms=31.25, p90_ms=40.0, images=100)},
        "parity": (
            ParitySummary(passed=True, images=4, differences=(), largest={"bbox_nms": 0.000031}, runtime="caffe2"),
        ),
        "verdicts": {
            "torch": VerdictSummary(passed=True, reasons=(), deltas={"bbox/AP": 0.0001}),
            "caffe2": VerdictSummary(passed=True, reasons=(), deltas={"bbox/AP": 0.0}),
        },
        "passed": True,
        "judged_by": "caffe2",
    }
    return Evaluation(**(figures | changes))


def rows_of(text, heading):
    """The cells of the first table under a heading, header and rule left out."""
    after = text.split(f"{heading}\n", 1)[1]
    lines = [line for line in after.splitlines() if line.startswith("|")]
    table = lines[: next((i - 1 for i, line in enumerate(lines[2:], 2) if line.startswith("| ---")), len(lines))]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table[2:]]


def test_the_ap_table_has_the_original_beside_each_runtime_with_the_difference(tmp_path, evaluation):
    text = write_report(tmp_path, evaluation).read_text()

    assert "| metric | original | torch runtime | difference | genuine Caffe2 | difference |" in text
    assert ["AP", "62.47", "62.47", "0.00", "62.47", "0.00"] in rows_of(text, "### box")
    assert ["AP-circle", "70.00", "69.50", "-0.50", "70.25", "+0.25"] in rows_of(text, "### box")
    assert ["AP", "65.91", "65.91", "0.00", "65.91", "0.00"] in rows_of(text, "### mask")


def test_what_coco_does_not_define_is_a_dash_and_never_nan(tmp_path, evaluation):
    text = write_report(tmp_path, evaluation).read_text()

    assert ["APl", *["–"] * 5] in rows_of(text, "### box")  # noqa: RUF001
    assert "| nan" not in text.lower()
    assert "None" not in text


def test_a_failed_gate_stands_in_the_title_with_its_reasons_and_the_images_that_failed(tmp_path):
    verdicts = {"caffe2": VerdictSummary(passed=False, reasons=("bbox/AP: 62 became 52",), deltas={})}
    evaluation = make_evaluation(passed=False, verdicts=verdicts, failed_images=("000003.jpg: worker died",))

    text = write_report(tmp_path, evaluation).read_text()

    assert text.startswith("# mask_rcnn_r50: FAILED\n")
    assert "**genuine Caffe2**: failed" in text
    assert "- bbox/AP: 62 became 52" in text
    assert "- 000003.jpg: worker died" in text


def test_a_report_says_what_the_original_was(tmp_path):
    ours = write_report(tmp_path, make_evaluation()).read_text()
    live = write_report(tmp_path, make_evaluation(original_kind="detectron2")).read_text()

    assert "The original was Roastery's reference of detectron2" in ours
    assert "The original was detectron2 itself" in live


def test_the_same_arguments_give_the_same_bytes(tmp_path, evaluation):
    facts = ReportFacts(operators={"Conv": 60, "Relu": 50}, versions={"torch": "2.13.0"})
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()

    one, two = (write_report(folder, evaluation, facts).read_bytes() for folder in folders)

    assert one == two
    assert str(tmp_path).encode() not in one


def test_facts_are_told_where_they_are_known(tmp_path, evaluation):
    facts = ReportFacts(
        meta_architecture="GeneralizedRCNN",
        operators={"Conv": 60, "RoIAlign": 8, "Relu": 60},
        sizes={"model.pb": 250_000},
        digests={"model.pb": "ab" * 32},
        sources={"checkpoint sha256": "50" * 32},
        versions={"torch": "2.13.0"},
        timings=(StageTiming(stage="trace", seconds=6.54, peak_memory_mb=812.4, cached=False),),
    )

    text = write_report(tmp_path, evaluation, facts).read_text()

    assert "128 operators of 3 types: Conv × 60, Relu × 60, RoIAlign × 8." in text  # noqa: RUF001
    assert ["model.pb", "0.25", f"`{'ab' * 32}`"] in rows_of(text, "## The net")
    assert ["trace", "6.5", "812", "no"] in rows_of(text, "## Stages")
    assert ["original", "31.2", "40.0", "100"] in rows_of(text, "## Latency")
    assert ["genuine Caffe2", "4", "passed", "3.1e-05"] in rows_of(text, "## Parity")
    provenance = rows_of(text, "## Provenance")
    assert ["checkpoint sha256", "50" * 32] in provenance
    assert ["torch", "2.13.0"] in provenance


def test_what_is_not_known_has_no_heading(tmp_path):
    text = write_report(tmp_path, make_evaluation(parity=(), latency={})).read_text()

    for heading in ("## Parity", "## Latency", "## Stages", "## The net", "## Side by side"):
        assert heading not in text


def test_of_many_classes_those_that_differ_most_are_shown(tmp_path):
    before = {"AP": 50.0} | {f"AP-class{index}": 50.0 for index in range(80)}
    after = before | {"AP-class41": 40.0, "AP-class7": 45.0, "AP-class3": None}
    evaluation = make_evaluation(metrics={"original": {"bbox": before}, "torch": {"bbox": after}})

    rows = rows_of(write_report(tmp_path, evaluation).read_text(), "### box")

    assert [row[0] for row in rows[:4]] == ["AP", "AP-class3", "AP-class41", "AP-class7"]
    assert len(rows) == 11


def test_long_lists_are_cut_and_say_so(tmp_path):
    reasons = tuple(f"reason {index}" for index in range(25))
    verdicts = {"torch": VerdictSummary(passed=False, reasons=reasons, deltas={})}

    text = write_report(tmp_path, make_evaluation(verdicts=verdicts, passed=False)).read_text()

    assert "- reason 9\n- and 15 more" in text
    assert "reason 10" not in text


def test_pictures_are_embedded_by_their_name_alone(tmp_path, evaluation):
    picture = Comparison(tmp_path / "report-1.png", "000_1.jpg", 1.25)

    text = write_report(tmp_path, evaluation, pictures=[picture]).read_text()

    assert "![000_1.jpg: disagreement 1.250](report-1.png)" in text


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("mask_rcnn_r50", "mask_rcnn_r50"),
        ("_private_ name", r"\_private\_ name"),
        ("a|b", r"a\|b"),
        ("*bold*", r"\*bold\*"),
        ("[x](javascript:alert(1))", r"\[x\](javascript:alert(1))"),
        ("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"),
        ("`code`", r"\`code\`"),
        ("two\nlines", "two lines"),
        ("a\\b", r"a\\b"),
        ("AT&T", "AT&amp;T"),
    ],
)
def test_names_read_as_they_stand(text, escaped):
    assert escape(text) == escaped


def test_no_name_breaks_a_table_or_brings_markup(tmp_path):
    nasty = "<img src=x>|*a*\n# heading"
    metrics = {"bbox": {"AP": 1.0, f"AP-{nasty}": 1.0}}
    evaluation = make_evaluation(
        model=nasty, dataset=nasty, metrics={"original": metrics, "torch": metrics}, failed_images=(nasty,)
    )

    text = write_report(tmp_path, evaluation, ReportFacts(sources={nasty: nasty})).read_text()

    assert "<img" not in text
    assert not re.search(r"^# heading", text, re.MULTILINE)
    unescaped = [len(re.findall(r"(?<!\\)\|", line)) for line in text.splitlines() if line.startswith("|")]
    assert set(unescaped) == {3, 5}


def test_the_report_lies_in_the_folder_under_its_one_name(tmp_path, evaluation):
    assert write_report(tmp_path, evaluation) == Path(tmp_path / "report.md")
