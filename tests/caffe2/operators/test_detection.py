"""The detection operators beside genuine Caffe2: what detectron2 can set of them, and boxes of every bad shape."""

from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

pytestmark = [pytest.mark.caffe2, pytest.mark.xdist_group("operators")]

GENERATORS = st.integers(0, 2**32 - 1).map(np.random.default_rng)
HEIGHT, WIDTH = 60, 90
"""Of the images, in pixels."""
FLAGS = st.integers(0, 1)
THRESHOLDS = st.sampled_from([0.0, 0.05, 0.3, 0.5, 0.7, 1.0])
COUNTS = st.sampled_from([0, 1, 2, 5, 20, 1000])
"""What topN is: 0 is all of them, 1,000 more than there are."""
Array = np.ndarray[Any, np.dtype[np.float32]]


@st.composite
def boxes(draw: st.DrawFn, count: int, inverted: bool = False) -> Array:
    """(count, 4) xyxy: many overlap, and in whole pixels overlaps are equal; some of them are degenerate."""
    generator = draw(GENERATORS)
    corners = generator.uniform((-20, -20), (WIDTH, HEIGHT), (count, 2))
    sides = np.exp(generator.uniform(0, np.log(80), (count, 2)))
    if draw(st.booleans()):
        corners, sides = corners.round(), sides.round()
    kinds = draw(st.lists(st.sampled_from(["pixel", "no width", "no size", "outside", "twin", "inverted"]), max_size=4))
    for kind, row in zip(kinds, generator.permutation(count), strict=False):
        if kind == "pixel":
            sides[row] = 1
        elif kind == "no width":
            sides[row, generator.integers(2)] = 0
        elif kind == "no size":
            sides[row] = 0
        elif kind == "outside":
            corners[row] += (2 * WIDTH, -3 * HEIGHT)
        elif kind == "twin":
            corners[row], sides[row] = corners[0], sides[0]
        elif inverted:
            sides[row] = -sides[row]
    return np.hstack([corners, corners + sides]).astype(np.float32)


@st.composite
def scores(draw: st.DrawFn, *shape: int) -> Array:
    """All different, or of so few values that most tie."""
    levels = draw(st.sampled_from([1, 3, 10, 100_000]))
    return (draw(GENERATORS).integers(0, levels + 1, shape) / levels).astype(np.float32)


@st.composite
def splits(draw: st.DrawFn) -> list[int]:
    """RoIs of each image of a batch of one to three; some images have none."""
    return draw(st.lists(st.sampled_from([0, 0, 1, 3, 9, 40, 150]), min_size=1, max_size=3))


def with_image(counts: list[int], xyxy: Array) -> Array:
    """(n, 5): with the index of the image before each box."""
    return np.hstack([np.repeat(np.arange(len(counts)), counts)[:, None], xyxy]).astype(np.float32)


@st.composite
def bbox_transforms(draw: st.DrawFn) -> Any:
    generator, counts = draw(GENERATORS), draw(splits())
    rois = draw(boxes(sum(counts), inverted=True))
    if len(counts) > 1 or draw(st.booleans()):
        rois = with_image(counts, rois)
    # Some deltas are beyond the clip at log(1000 / 16).
    deltas = generator.normal(0, draw(st.sampled_from([0.0, 1.0, 20.0])), (sum(counts), 4 * draw(st.integers(1, 3))))
    scales = [draw(st.sampled_from([1.0, 0.7, 1.7])) for _ in counts]
    im_info = [[HEIGHT * scale, WIDTH * scale + 0.4, scale] for scale in scales]
    arguments = {
        "weights": draw(st.sampled_from([[1.0] * 4, [10.0, 10.0, 5.0, 5.0], [20.0, 20.0, 10.0, 10.0]])),
        "apply_scale": draw(FLAGS),
        "legacy_plus_one": draw(FLAGS),
        "rotated": 0,
    }
    return [rois, deltas.astype(np.float32), np.array(im_info, np.float32)], arguments, 2


@st.composite
def permutations(draw: st.DrawFn) -> Any:
    generator, count = draw(GENERATORS), draw(st.integers(0, 9))
    shape = (count, *draw(st.lists(st.integers(1, 4), min_size=1, max_size=3)))
    return [generator.normal(size=shape).astype(np.float32), generator.permutation(count).astype(np.int32)], {}, 1


@st.composite
def box_limits(draw: st.DrawFn) -> Any:
    """One class to three, each with boxes of its own or all with one; hard and soft NMS."""
    counts, classes = draw(splits()), draw(st.integers(1, 3))
    total, background, agnostic = sum(counts), draw(FLAGS), draw(FLAGS)
    box_classes = 1 if agnostic else classes + background
    inputs = [draw(scores(total, classes + 1)), draw(boxes(total * box_classes)).reshape(total, 4 * box_classes)]
    if len(counts) > 1 or draw(st.booleans()):
        inputs.append(np.array(counts, np.float32))
    arguments = {
        "score_thresh": draw(st.sampled_from([0.0, 0.05, 0.5, 1.0])),
        "nms": draw(THRESHOLDS),
        "detections_per_im": draw(COUNTS),
        "cls_agnostic_bbox_reg": agnostic,
        "input_boxes_include_bg_cls": background,
        "output_classes_include_bg_cls": draw(FLAGS),
        "legacy_plus_one": draw(FLAGS),
        "rotated": 0,
    }
    if draw(st.integers(0, 3)) == 0:
        arguments |= {
            "soft_nms_enabled": 1,
            "soft_nms_method": draw(st.sampled_from(["linear", "gaussian"])),
            "soft_nms_sigma": draw(st.sampled_from([0.3, 0.5, 2.0])),
            "soft_nms_min_score_thres": draw(st.sampled_from([0.0, 0.001, 0.4])),
        }
    return inputs, arguments, 6


@st.composite
def collections(draw: st.DrawFn) -> Any:
    counts = draw(st.lists(st.sampled_from([0, 1, 7, 40]), min_size=1, max_size=5))
    rois = [np.hstack([np.full((n, 1), draw(st.integers(0, 2))), draw(boxes(n))]).astype(np.float32) for n in counts]
    least = draw(st.integers(2, 3))
    arguments = {"rpn_min_level": least, "rpn_max_level": least + len(counts) - 1, "rpn_post_nms_topN": draw(COUNTS)}
    return [*rois, *(draw(scores(n)) for n in counts)], arguments, 1


@st.composite
def distributions(draw: st.DrawFn) -> Any:
    """Some boxes lie on the border of two levels, or one bit below; one turned in one axis has a negative area."""
    counts, scale, plus_one = draw(splits()), draw(st.sampled_from([20, 56, 224])), draw(FLAGS)
    xyxy = draw(boxes(sum(counts), inverted=True))
    border = draw(GENERATORS).random(len(xyxy)) < 0.3
    side = np.float32(scale * 0.5 ** draw(st.integers(-2, 3)))
    xyxy[border] = [0, 0, side - plus_one, np.nextafter(side, np.float32(0)) - plus_one]
    rois = with_image(counts, xyxy) if len(counts) > 1 or draw(st.booleans()) else xyxy
    least, levels = draw(st.integers(1, 3)), draw(st.integers(1, 4))
    arguments = {
        "roi_canonical_scale": scale,
        "roi_canonical_level": draw(st.integers(2, 4)),
        "roi_min_level": least,
        "roi_max_level": least + levels - 1,
        "legacy_plus_one": plus_one,
    }
    return [rois], arguments, levels + 1


@st.composite
def proposals(draw: st.DrawFn) -> Any:
    """Of one to three images, of which one may be too small for a box of the least size."""
    generator, images, anchors = draw(GENERATORS), draw(st.integers(1, 3)), draw(st.integers(1, 3))
    height, width, stride = draw(st.integers(1, 8)), draw(st.integers(1, 8)), draw(st.sampled_from([4, 8, 32]))
    sides = draw(st.sampled_from([1, 2, 16, 64])) * np.array([[-1, -1, 1, 1], [-2, -1, 2, 1], [-1, -2, 1, 2]]) / 2
    deltas = generator.normal(0, draw(st.sampled_from([0.0, 0.3, 5.0])), (images, 4 * anchors, height, width))
    im_info = [[height * stride - 3.0, width * stride - 0.4, 1.0] for _ in range(images)]
    if draw(st.booleans()):
        im_info[draw(st.integers(0, images - 1))] = draw(st.sampled_from([[1.0, 1.0, 1.0], [20.0, 30.0, 1.7]]))
    arguments = {
        "spatial_scale": 1.0 / stride,
        "pre_nms_topN": draw(COUNTS),
        "post_nms_topN": draw(COUNTS),
        "nms_thresh": draw(THRESHOLDS),
        "min_size": draw(st.sampled_from([0.0, float(np.finfo(np.float32).tiny), 1.0, 8.0])),
        "legacy_plus_one": draw(FLAGS),
    }
    inputs = [draw(scores(images, anchors, height, width)) * 8 - 4, deltas, np.array(im_info), sides[:anchors]]
    return [each.astype(np.float32) for each in inputs], arguments, 2


@st.composite
def keypoint_heatmaps(draw: st.DrawFn) -> Any:
    """Peaks anywhere, in a corner too; in whole numbers tops are flat and several. NaN kills genuine Caffe2."""
    generator, count, size = draw(GENERATORS), draw(st.integers(0, 5)), draw(st.integers(2, 9))
    heatmaps = generator.normal(0, 3, (count, draw(st.integers(1, 4)), size, size))
    form = draw(st.sampled_from(["rough", "whole", "ridge"]))
    if form == "whole":
        heatmaps = (heatmaps * draw(st.sampled_from([0.0, 0.5, 2.0]))).round()
    elif form == "ridge":
        # Across the diagonal it falls; along it hardly, so that the parabola's top is far.
        heatmaps = heatmaps / 10 - 2.0 * np.subtract.outer(np.arange(size), np.arange(size)) ** 2
    arguments = {"should_output_softmax": draw(FLAGS)}
    return [heatmaps.astype(np.float32), draw(boxes(count, inverted=True))], arguments, 1


@st.composite
def nan_replacements(draw: st.DrawFn) -> Any:
    generator, shape = draw(GENERATORS), draw(st.lists(st.integers(0, 6), min_size=1, max_size=4))
    x = generator.choice(np.array([np.nan, np.inf, -np.inf, -1.5, 0.0, 3.0], np.float32), shape)
    return [x], draw(st.sampled_from([{}, {"value": 0.0}, {"value": -2.5}])), 1


@st.composite
def roi_alignments(draw: st.DrawFn) -> Any:
    """Aligned, genuine Caffe2 aborts of a box of negative size; of one without size both give NaN."""
    counts, aligned = draw(splits()), draw(FLAGS)
    stride = draw(st.sampled_from([1, 4, 8]))
    shape = (len(counts), draw(st.integers(1, 4)), -(-HEIGHT // stride), -(-WIDTH // stride))
    features = draw(GENERATORS).normal(size=shape).astype(np.float32)
    arguments = {
        "spatial_scale": 1.0 / stride,
        "pooled_h": draw(st.integers(1, 7)),
        "pooled_w": draw(st.integers(1, 7)),
        "sampling_ratio": draw(st.sampled_from([-1, 0, 1, 2, 3])),
        "aligned": aligned,
    }
    if draw(st.integers(0, 3)) == 0:
        features = np.ascontiguousarray(features.transpose(0, 2, 3, 1))
        arguments["order"] = "NHWC"
    rois = draw(boxes(sum(counts), inverted=not aligned))
    return [features, with_image(counts, rois) if len(counts) > 1 or draw(st.booleans()) else rois], arguments, 1


@st.composite
def shapes(draw: st.DrawFn) -> Any:
    """Of tensors of any type, empty and without axes too; of some axes, twice the same, now and then of none there."""
    sizes = draw(st.lists(st.integers(0, 4), max_size=4))
    dtype = draw(st.sampled_from([np.float32, np.float64, np.int32, np.int64, np.uint8, np.bool_]))
    most = len(sizes) if draw(st.integers(0, 9)) == 6 else len(sizes) - 1
    axes = draw(st.lists(st.integers(-1 if most == len(sizes) else 0, most), max_size=4)) if most >= 0 else []
    return [np.ones(sizes, dtype)], {"axes": axes} if axes or draw(st.booleans()) else {}, 1


@st.composite
def lengths(draw: st.DrawFn) -> Any:
    """Of no part to nine, some of no row. None is negative: genuine Caffe2 would write before its memory."""
    counts = np.array(draw(st.lists(st.sampled_from([0, 0, 1, 2, 30, 1000]), max_size=9)), np.int32)
    spoilt = draw(st.sampled_from([*["no"] * 20, "type", "matrix", "number"]))
    given = {"type": counts.astype(np.int64), "matrix": counts[None], "number": np.array(3, np.int32)}
    return [given.get(spoilt, counts)], {}, 1


@st.composite
def largest(draw: st.DrawFn) -> Any:
    """Along any axis of one to three; more than there are; ties, and the disorder that NaN makes."""
    sizes = draw(st.lists(st.sampled_from([1, 2, 3, 5, 30]), min_size=1, max_size=3))
    generator = draw(GENERATORS)
    if draw(st.integers(0, 9)) == 6:
        sizes[draw(st.integers(0, len(sizes) - 1))] = 0
    x = draw(scores(*sizes)) * draw(st.sampled_from([-3, 1]))
    if draw(st.integers(0, 3)) == 0:
        strange = generator.choice([np.nan, np.inf, -np.inf], sizes)
        x = np.where(generator.random(sizes) < 0.2, strange, x).astype(np.float32)
    axis = draw(st.sampled_from([-1, -1, *range(len(sizes))]))
    arguments = {"k": draw(st.integers(1, max(1, sizes[axis]) + 2))}
    if axis != -1 or draw(st.booleans()):
        arguments["axis"] = axis
    spoilt = draw(st.sampled_from([*["no"] * 30, "k", "axis", "type"]))
    if spoilt == "k":
        arguments["k"] = draw(st.integers(-1, 0))
    elif spoilt == "axis":
        arguments["axis"] = draw(st.sampled_from([-2, len(sizes)]))
    elif spoilt == "type":
        return [np.ones(sizes, draw(st.sampled_from([np.int64, np.float64])))], arguments, 2
    return [x], arguments, 2


CASES = {
    "BBoxTransform": bbox_transforms(),
    "BatchPermutation": permutations(),
    "BoxWithNMSLimit": box_limits(),
    "CollectRpnProposals": collections(),
    "DistributeFpnProposals": distributions(),
    "GenerateProposals": proposals(),
    "HeatmapMaxKeypoint": keypoint_heatmaps(),
    "LengthsToSegmentIds": lengths(),
    "ReplaceNaN": nan_replacements(),
    "RoIAlign": roi_alignments(),
    "Shape": shapes(),
    "TopK": largest(),
}


@pytest.mark.parametrize("operator", CASES)
def test_it_gives_what_genuine_caffe2_gives(hold: Any, operator: str) -> None:
    hold(operator, CASES[operator])
