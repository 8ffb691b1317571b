import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roastery.evaluation.gate import GatePolicy, judge, main_metric
from roastery.evaluation.parity import ParityReport

NAN = math.nan
AGREES = ParityReport((), {"bbox_nms": 0.0})


def metrics(**changes):
    bbox = {"AP": 62.473, "AP50": 83.453, "APl": NAN, "AP-circle": 69.984}
    segm = {"AP": 65.908, "AP50": 82.011, "APl": NAN, "AP-circle": 72.363}
    return {"bbox": {**bbox, **changes}, "segm": segm}


def without(name):
    found = metrics()
    del found["bbox"][name]
    return found


def verdict(original=None, converted=None, parity=AGREES, images=100, failed=(), policy=None):
    return judge(
        metrics() if original is None else original,
        metrics() if converted is None else converted,
        parity,
        images,
        failed,
        policy,
    )


def test_the_same_figures_on_the_same_images_pass():
    found = verdict()
    assert found.passed
    assert found.reasons == ()
    assert found.deltas["bbox/AP"] == 0.0
    assert math.isnan(found.deltas["bbox/APl"]), "COCO defines none for either, which is no fault"


@pytest.mark.parametrize(
    ("change", "passes"), [(0.1, True), (-0.1, True), (0.101, False), (-0.101, False), (9.6, False)]
)
def test_ap_may_differ_by_a_tenth_in_either_direction(change, passes):
    found = verdict(converted=metrics(AP=62.473 + change))
    assert found.passed is passes
    assert found.deltas["bbox/AP"] == pytest.approx(change)
    assert all(reason.startswith("bbox/AP: 62.473 became") for reason in found.reasons)


def test_one_sided_lets_a_better_model_pass_and_no_worse_one():
    policy = GatePolicy(two_sided=False)
    assert verdict(converted=metrics(AP=70.0), policy=policy).passed
    assert not verdict(converted=metrics(AP=62.3), policy=policy).passed


def test_the_ap_of_masks_is_bounded_too():
    converted = metrics()
    converted["segm"] = {**converted["segm"], "AP": 65.7}
    assert verdict(converted=converted).reasons == (
        "segm/AP: 65.908 became 65.700, which differs by -0.208; allowed is 0.1",
    )


def test_a_class_may_differ_by_more_than_the_whole():
    assert verdict(converted=metrics(**{"AP-circle": 69.0})).passed


@pytest.mark.parametrize("value", [NAN, None, math.inf])
@pytest.mark.parametrize("name", ["AP", "AP50", "AP-circle"])
def test_a_metric_that_is_no_number_fails_on_either_side(name, value):
    assert not verdict(converted=metrics(**{name: value})).passed
    assert not verdict(original=metrics(**{name: value})).passed


def test_the_main_metric_must_be_a_number_even_if_neither_has_one():
    nothing = metrics(AP=NAN)
    found = verdict(nothing, nothing)
    assert found.reasons == (
        "bbox/AP: the original model's is nan, not a number",
        "bbox/AP: the converted model's is nan, not a number",
    )


def test_infinity_is_no_number_even_on_both_sides():
    assert not verdict(metrics(AP50=math.inf), metrics(AP50=math.inf)).passed


@pytest.mark.parametrize("name", ["AP", "AP50", "APl", "AP-circle"])
def test_a_metric_that_one_model_lacks_fails(name):
    assert verdict(converted=without(name)).reasons == (f"bbox/{name}: the converted model has none",)
    assert verdict(original=without(name)).reasons == (f"bbox/{name}: the original model has none",)


def test_the_main_metric_missing_in_both_fails():
    assert not verdict(without("AP"), without("AP")).passed


def test_an_iou_type_that_one_model_lacks_fails():
    only = {"bbox": metrics()["bbox"]}
    assert verdict(converted=only).reasons == ("segm: the converted model has no metrics",)
    assert verdict(original=only).reasons == ("segm: the original model has no metrics",)


def test_no_metrics_at_all_fail():
    assert not verdict({}, {}).passed
    assert not verdict({"bbox": {}}, {"bbox": {}}).passed


def test_no_image_fails():
    assert verdict(images=0).reasons == ("no image was evaluated",)


def test_one_image_that_raised_fails_and_is_named():
    assert verdict(failed=["000007.jpg: worker died"]).reasons == ("1 images failed: 000007.jpg: worker died",)


def test_many_failed_images_are_named_in_short():
    (reason,) = verdict(failed=[f"{index}.jpg" for index in range(100)]).reasons
    assert reason == "100 images failed: 0.jpg; 1.jpg; 2.jpg; 3.jpg; 4.jpg; and 95 more"


def test_tensors_that_differ_fail_though_the_ap_is_the_same():
    parity = ParityReport(("score_nms, class 0: 1 of 3 differ by up to 0.01, allowed 0.0001",), {})
    (reason,) = verdict(parity=parity).reasons
    assert "score_nms" in reason


def test_parity_that_was_not_measured_fails_unless_the_policy_does_without():
    assert verdict(parity=None).reasons == ("parity was not measured",)
    assert verdict(parity=None, policy=GatePolicy(require_parity=False)).passed


def test_every_reason_is_given_at_once():
    found = verdict(converted=metrics(AP=50.0), parity=None, images=0, failed=["a.jpg"])
    assert len(found.reasons) == 4


@pytest.mark.parametrize("value", [NAN, math.inf, -0.1])
def test_a_policy_without_a_bound_is_refused(value):
    with pytest.raises(ValueError, match="max_ap_delta"):
        GatePolicy(max_ap_delta=value)


@given(st.floats(), st.floats(), st.floats(0, 10))
def test_a_passed_verdict_means_numbers_within_the_bound(before, after, bound):
    policy = GatePolicy(max_ap_delta=bound)
    found = judge({"bbox": {"AP": before}}, {"bbox": {"AP": after}}, AGREES, 1, (), policy)
    within = math.isfinite(before) and math.isfinite(after) and abs(after - before) <= bound + 1e-6
    assert within or not found.passed


@pytest.mark.parametrize(
    ("two_sided", "delta", "allowed"),
    [
        (True, 0.1, True),
        (True, -0.1, True),
        (True, 0.101, False),
        (True, -0.101, False),
        (False, 5.0, True),
        (False, -0.101, False),
        (True, math.nan, False),
        (False, math.nan, False),
    ],
)
def test_a_policy_allows_what_is_within_its_bound(two_sided, delta, allowed):
    assert GatePolicy(max_ap_delta=0.1, two_sided=two_sided).allows(delta) is allowed


@pytest.mark.parametrize(("iou_type", "metric"), [("panoptic_seg", "PQ"), ("sem_seg", "mIoU"), ("keypoints", "AP")])
def test_each_kind_of_figure_is_bounded_by_its_own_main_metric(iou_type, metric):
    original = {iou_type: {metric: 70.0, "other": 50.0}}
    within = {iou_type: {metric: 70.05, "other": 10.0}}
    beyond = {iou_type: {metric: 69.8, "other": 50.0}}
    assert main_metric(iou_type) == metric
    assert judge(original, within, AGREES, 10, []).passed
    assert any(f"{iou_type}/{metric}" in reason for reason in judge(original, beyond, AGREES, 10, []).reasons)
    missing = judge({iou_type: {"other": 50.0}}, {iou_type: {"other": 50.0}}, AGREES, 10, [])
    assert any(metric in reason for reason in missing.reasons)
