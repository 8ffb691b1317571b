"""What a report tells, as its Markdown form has it."""

import re

import pytest

from roastery.evaluation.gate import GatePolicy
from roastery.report.facts import ReportFacts
from roastery.report.markdown import escape
from roastery.results import LayerError, ParitySummary, StageTiming, VerdictSummary


def rows_of(text, caption):
    """The cells of the table under a caption, header and rule left out."""
    lines = text.split(f"\n{caption}:\n\n", 1)[1].split("\n\n", 1)[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def test_the_ap_table_has_the_original_beside_each_runtime_with_the_difference(markdown, evaluation):
    text = markdown(evaluation)

    assert "| metric | original | torch runtime | difference | genuine Caffe2 | difference |" in text
    assert ["AP", "62.47", "62.47", "0.00", "62.47", "0.00"] in rows_of(text, "Box AP, COCO's metrics")
    assert ["AP", "65.91", "65.91", "0.00", "65.91", "0.00"] in rows_of(text, "Mask AP, COCO's metrics")


def test_what_is_off_is_marked_and_more_so_where_the_gate_judges_it(markdown, make_evaluation):
    before = {"AP": 60.0, "AP50": 80.0, "AP75": 70.0, "APl": 1.0, "AP-circle": 70.0}
    after = {"AP": 59.8, "AP50": 80.25, "AP75": 70.1, "APl": None, "AP-circle": 69.0}
    metrics = {"original": {"bbox": before}, "torch": {"bbox": after}}

    text = markdown(make_evaluation(metrics=metrics), ReportFacts(gate=GatePolicy(max_ap_delta=0.1)))

    assert rows_of(text, "Box AP, COCO's metrics") == [
        ["AP", "60.00", "59.80", "**✕ -0.20**"],
        ["AP50", "80.00", "80.25", "△ +0.25"],
        ["AP75", "70.00", "70.10", "+0.10"],
        ["APl", "1.00", "–", "**✕ –**"],  # noqa: RUF001
    ]
    assert rows_of(text, "Box AP, each class") == [["circle", "70.00", "69.00", "△ -1.00"]]
    assert "✕ the gate failed on it." in text


def test_the_gate_that_judged_decides_what_is_marked(markdown, make_evaluation):
    metrics = {"original": {"bbox": {"AP": 60.0}}, "torch": {"bbox": {"AP": 60.5}}}
    evaluation = make_evaluation(
        metrics=metrics, verdicts={"torch": VerdictSummary(passed=True, reasons=(), deltas={})}
    )

    one_sided = markdown(evaluation, ReportFacts(gate=GatePolicy(0.1, two_sided=False)))
    wide = markdown(evaluation, ReportFacts(gate=GatePolicy(0.5)))

    for text in (one_sided, wide):
        assert rows_of(text, "Box AP, COCO's metrics") == [["AP", "60.00", "60.50", "+0.50"]]
        assert "✕" not in text
    assert "AP may differ by 0.1 downwards" in one_sided
    assert "AP may differ by 0.5 either way" in wide


def test_what_coco_does_not_define_is_a_dash_and_never_nan(markdown, evaluation):
    text = markdown(evaluation)

    assert ["APl", *["–"] * 5] in rows_of(text, "Box AP, COCO's metrics")  # noqa: RUF001
    assert "| nan" not in text.lower()
    assert "None" not in text


def test_a_failed_gate_stands_first_with_its_reasons_and_the_images_that_failed(markdown, make_evaluation):
    reason = "bbox/AP: 62.000 became 52.000, which differs by -10.000; allowed is 0.1"
    verdicts = {
        "torch": VerdictSummary(passed=True, reasons=(), deltas={}),
        "caffe2": VerdictSummary(passed=False, reasons=(reason,), deltas={}),
    }
    evaluation = make_evaluation(passed=False, verdicts=verdicts, failed_images=("000003.jpg: worker died",))

    text = markdown(evaluation)

    assert text.startswith(
        "# mask_rcnn_r50: FAILED\n\nThe converted model did not pass the gate in genuine Caffe2.\n\n"
        f"- genuine Caffe2: {reason}\n"
    )
    assert "- 000003.jpg: worker died" in text


def test_a_passed_gate_says_what_it_saw(markdown, evaluation):
    text = markdown(evaluation)

    assert text.startswith(
        "# mask_rcnn_r50: passed\n\n"
        "As good as its original in genuine Caffe2: box AP 62.47 beside 62.47, mask AP 65.91 beside 65.91.\n"
    )
    dash = "–"  # noqa: RUF001
    assert rows_of(text, "What the gate judged") == [
        ["torch runtime", "box AP", "passed", "62.472", "62.473", "0.000"],
        ["torch runtime", "mask AP", "passed", "65.911", "65.911", "0.000"],
        ["torch runtime", "altogether", "passed", dash, dash, dash],
        ["genuine Caffe2", "box AP", "passed", "62.472", "62.472", "0.000"],
        ["genuine Caffe2", "mask AP", "passed", "65.911", "65.911", "0.000"],
        ["genuine Caffe2", "tensors on 4 images", "passed", dash, dash, dash],
        ["genuine Caffe2", "altogether", "passed", dash, dash, dash],
    ]


def test_tensors_that_differ_are_told_where_they_do(markdown, make_evaluation):
    differences = ("bbox_nms, class 0: 3 of 12 differ by up to 2.2, allowed 0.01",)
    parity = ParitySummary(passed=False, images=4, differences=differences, largest={"bbox_nms": 2.2}, runtime="torch")

    text = markdown(make_evaluation(parity=(parity,)))

    assert ["torch runtime", "4", "2.2", "**✕ failed**"] in rows_of(text, "Parity of the tensors")
    assert f"### What differs in the torch runtime\n\n- {differences[0]}\n" in text


def test_a_report_says_what_the_original_was(markdown, make_evaluation):
    assert "The original was Roastery's reference of detectron2" in markdown(make_evaluation())
    assert "The original was detectron2 itself" in markdown(make_evaluation(original_kind="detectron2"))


def test_facts_are_told_where_they_are_known(markdown, evaluation):
    facts = ReportFacts(
        meta_architecture="GeneralizedRCNN",
        operators={"Conv": 60, "RoIAlign": 8, "Relu": 60},
        sizes={"model.pb": 250_000},
        digests={"model.pb": "ab" * 32},
        sources={"checkpoint": "50" * 32},
        versions={"torch": "2.13.0+cpu"},
        timings=(StageTiming(stage="trace", seconds=6.54, peak_memory_mb=812.4, cached=False),),
        weights="/somewhere/model_final.pkl",
    )

    text = markdown(evaluation, facts)

    assert "128 operators of 3 types: Conv × 60, Relu × 60, RoIAlign × 8." in text  # noqa: RUF001
    assert rows_of(text, "Files") == [["model.pb", "0.25", f"`{'ab' * 32}`"]]
    assert rows_of(text, "Cost of the stages") == [["trace", "6.5", "812", "no"]]
    assert ["original", "31.2", "40.0", "100"] in rows_of(text, "Milliseconds an image")
    assert ["genuine Caffe2", "4", "3.1e-05", "passed"] in rows_of(text, "Parity of the tensors")
    assert rows_of(text, "What it was made from") == [
        ["checkpoint", f"`{'50' * 32}`"],
        ["dataset shapes_val", f"`{'da' * 32}`"],
    ]
    assert rows_of(text, "What it was made with") == [["torch", "`2.13.0+cpu`"]]
    assert "MODEL.WEIGHTS model_final.pkl" in text
    assert "/somewhere" not in text


def test_of_a_target_that_rounds_the_layers_are_told_by_their_error_and_the_command_is_its_own(
    markdown, make_evaluation
):
    layers = (
        LayerError(layer="backbone.bottom_up.res5.1.conv1", operator="Conv", error=0.1341),
        LayerError(layer="roi_heads.box_head.fc1", operator="Gemm", error=0.02),
    )
    finder = "onnxruntime-int8"
    evaluation = make_evaluation()
    told = evaluation.model_copy(
        update={
            "metrics": {"original": evaluation.metrics["original"], finder: evaluation.metrics["torch"]},
            "verdicts": {finder: evaluation.verdicts["torch"]},
            "parity": (),
            "judged_by": finder,
        }
    )

    text = markdown(told, ReportFacts(target=finder, layers=layers, weights="model_final.pkl"))

    assert "The ONNX Runtime int8 model beside its original" in text
    assert rows_of(text, "The worst layers") == [
        ["`backbone.bottom_up.res5.1.conv1`", "Conv", "13.41%"],
        ["`roi_heads.box_head.fc1`", "Gemm", "2.00%"],
    ]
    assert "--target onnxruntime-int8" in text
    assert "--runtime" not in text


def test_what_is_not_known_has_no_heading(markdown, make_evaluation):
    text = markdown(make_evaluation(parity=(), latency={}))

    headings = re.findall("^## (.*)", text, re.MULTILINE)
    assert headings == ["Verdict", "AP", "Provenance"]


def test_of_many_classes_those_that_differ_most_come_first_and_none_is_left_out(markdown, make_evaluation):
    before = {"AP": 50.0} | {f"AP-class{index}": 50.0 for index in range(80)}
    after = before | {"AP-class41": 40.0, "AP-class7": 45.0, "AP-class3": None}
    evaluation = make_evaluation(metrics={"original": {"bbox": before}, "torch": {"bbox": after}})

    rows = rows_of(markdown(evaluation), "Box AP, each class, those that differ most first")

    assert [row[0] for row in rows[:5]] == ["class3", "class41", "class7", "class0", "class1"]
    assert len(rows) == 80


def test_long_lists_are_cut_and_say_so(markdown, make_evaluation):
    reasons = tuple(f"reason {index}" for index in range(25))
    verdicts = {"torch": VerdictSummary(passed=False, reasons=reasons, deltas={})}

    text = markdown(make_evaluation(verdicts=verdicts, passed=False))

    assert "- torch runtime: reason 9\n- and 15 more, in evaluation.json" in text
    assert "reason 10" not in text


def test_pictures_and_curves_are_embedded_by_their_name_alone(markdown, evaluation, tmp_path, drawn):
    picture, curve = drawn

    text = markdown(evaluation, pictures=[picture], curves=[curve])

    assert "![000_1.jpg, detections of: original, torch runtime, genuine Caffe2](report-1.png)" in text
    assert "\n000_1.jpg: disagreement 1.250\n" in text
    assert "](report-curves-bbox.svg)" in text
    assert str(tmp_path) not in text


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


@pytest.mark.parametrize("start", ["- item", "+ item", "1. item", "2) item", "===", "# title", "> quote"])
def test_a_sentence_is_a_sentence_whatever_it_begins_with(markdown, make_evaluation, start):
    text = markdown(make_evaluation(failed_images=(start,)))

    (line,) = [line for line in text.split("## Images that failed\n\n")[1].splitlines() if line.startswith("- ")]
    assert re.match(r"- (\d*\\|&gt;)", line)


def test_no_name_breaks_a_table_or_brings_markup(markdown, make_evaluation, hostile):
    nasty = " ".join(hostile) + "\n# heading\u202e"
    metrics = {"bbox": {"AP": 1.0, f"AP-{nasty}": 1.0, "AP-other": 1.0}}
    evaluation = make_evaluation(
        model=nasty,
        dataset=nasty,
        metrics={"original": metrics, "torch": metrics},
        failed_images=(nasty,),
        verdicts={"torch": VerdictSummary(passed=False, reasons=(nasty,), deltas={})},
        passed=False,
    )

    text = markdown(evaluation, ReportFacts(sources={nasty: nasty}, versions={nasty: nasty}, operators={nasty: 1}))

    assert "<" not in text
    assert "\u202e" not in text
    assert not re.search(r"^# heading", text, re.MULTILINE)
    assert not re.search(r"(?<!\\)\]\(javascript", text)
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {3, 5, 7}
