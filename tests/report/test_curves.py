"""Curves are drawn as they were measured."""

import re
import xml.etree.ElementTree as ET

import pytest

from roastery.evaluation.coco import PrecisionRecall
from roastery.report.curves import METRIC_COLOURS, draw_curves

SVG = "{http://www.w3.org/2000/svg}"


def curve(**precision):
    """A curve that is flat, for each metric."""
    values = {"AP50": 0.9, "AP75": 0.6, "AP": 0.5} | precision
    return PrecisionRecall(
        tuple(index / 100 for index in range(101)), {name: (value,) * 101 for name, value in values.items()}
    )


def lines(path):
    """The drawn lines in their order: colour, width and the heights that they go through."""
    found = []
    for element in ET.parse(path).iter(f"{SVG}path"):
        style = dict(part.split(": ") for part in element.get("style", "").split("; ") if part)
        numbers = [float(number) for number in re.findall(r"-?[\d.]+", element.get("d"))]
        if style.get("stroke") in METRIC_COLOURS.values() and numbers[-2] - numbers[0] > 100:
            found.append((style["stroke"], float(style.get("stroke-width", 1)), sorted(set(numbers[1::2]))))
    return found


def test_the_original_is_drawn_wide_and_the_converted_over_it_at_its_own_height(tmp_path):
    curves = {"original": {"bbox": curve()}, "torch": {"bbox": curve(AP75=0.3)}}

    (drawn,) = draw_curves(tmp_path, curves)

    assert drawn.path.name == "report-curves-bbox.svg"
    assert drawn.finders == ("original", "torch")
    above = lines(drawn.path)[:6]
    assert [colour for colour, _, _ in above] == [each for each in METRIC_COLOURS.values() for _ in range(2)]
    heights = {(colour, width > 3): each for colour, width, (each,) in above}
    ap50, ap75, ap = METRIC_COLOURS.values()
    assert heights[ap50, True] == heights[ap50, False]
    # A height of 0.3 lies as far under 0.6 as that does under 0.9: downwards is more in SVG.
    assert heights[ap75, False] - heights[ap75, True] == pytest.approx(heights[ap75, True] - heights[ap50, True])
    assert heights[ap, True] - heights[ap50, True] == pytest.approx(
        (heights[ap75, False] - heights[ap50, True]) * 2 / 3
    )


def test_the_difference_is_drawn_below(tmp_path):
    (drawn,) = draw_curves(tmp_path, {"original": {"bbox": curve()}, "torch": {"bbox": curve(AP75=0.5)}})

    below = {colour: each for colour, _, (each,) in lines(drawn.path)[6:]}
    ap50, ap75, ap = METRIC_COLOURS.values()
    assert below[ap50] == below[ap]
    assert below[ap75] > below[ap50] + 20


def test_every_iou_type_of_the_original_has_a_drawing_with_its_ap(tmp_path):
    both = {"bbox": curve(), "segm": curve(AP50=0.77)}

    drawn = draw_curves(tmp_path, {"original": both, "torch": both, "caffe2": both})

    assert [each.path.name for each in drawn] == ["report-curves-bbox.svg", "report-curves-segm.svg"]
    words = [[text.text for text in ET.parse(each.path).iter(f"{SVG}text")] for each in drawn]
    assert {"Box detections", "IoU 0.50 (90.0)", "IoU 0.75 (60.0)", "IoU 0.50:0.95 (50.0)"} <= set(words[0])
    assert {"Mask detections", "IoU 0.50 (77.0)", "original", "torch runtime", "genuine Caffe2"} <= set(words[1])


def test_without_a_curve_there_is_no_drawing(tmp_path):
    assert draw_curves(tmp_path, {"original": {}, "torch": {}}) == []
    assert draw_curves(tmp_path, {}) == []


def test_a_machines_own_style_changes_nothing(tmp_path):
    import matplotlib

    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
    curves = {"original": {"bbox": curve()}}
    draw_curves(folders[0], curves)
    with matplotlib.rc_context({"font.size": 30, "axes.grid": True, "svg.fonttype": "path"}):
        draw_curves(folders[1], curves)
        assert matplotlib.rcParams["font.size"] == 30, "what others set is left to them"

    one, two = ((folder / "report-curves-bbox.svg").read_bytes() for folder in folders)
    assert one == two
    assert b"<metadata" not in one
