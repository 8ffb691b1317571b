import pytest
from mlflow.utils.validation import _validate_metric_name, _validate_param_name, _validate_tag_name

from roastery.registry.record import aliases, legal_names, metrics, parameters, version_tags


def test_what_coco_does_not_define_is_not_a_metric(make_conversion):
    logged = metrics(make_conversion())

    assert logged["original/bbox/AP"] == 62.4725
    assert logged["torch/bbox/AP"] == 62.46
    assert logged["delta/torch/bbox/AP"] == -0.0125
    assert "original/bbox/APl" not in logged, "None"
    assert "torch/bbox/APl" not in logged, "NaN"
    assert "delta/torch/segm/AP" not in logged


def test_latency_parity_and_stages_are_metrics(make_conversion):
    logged = metrics(make_conversion())

    assert logged["latency_ms/original/median"] == 30.0
    assert logged["parity/torch/bbox_nms"] == 0.001
    assert logged["seconds/trace"] == 6.5
    assert logged["peak_memory_mb/trace"] == 812.0
    assert logged["images"] == 100


def test_every_name_is_one_that_mlflow_takes(make_conversion):
    conversion = make_conversion()

    for name in metrics(conversion):
        _validate_metric_name(name)
    for name in parameters(conversion):
        _validate_param_name(name)
    for name in version_tags(conversion):
        _validate_tag_name(name)


@pytest.mark.parametrize(
    "name", ["a//b", "../a", "/a", "a/./b", "AP-hot dog?", "AP-Bär", "x" * 400, "..", "a\nb", "a/"]
)
def test_any_name_becomes_a_legal_one(name):
    (legal,) = legal_names({name: 1})

    _validate_metric_name(legal)
    assert len(legal) <= 250


def test_names_that_become_the_same_stay_apart():
    assert sorted(legal_names({"AP-a?": 1, "AP-a!": 2, "AP-a_": 3}).values()) == [1, 2, 3]


def test_the_tags_of_a_version_say_what_it_is_and_how_it_was_judged(make_conversion):
    conversion = make_conversion(judged_by="caffe2")

    assert version_tags(conversion) == {
        "roastery.key": conversion.key,
        "verdict": "passed",
        "target": "caffe2",
        "judged_by": "caffe2",
        "source_sha256": "50" * 32,
        "config_sha256": "c0" * 32,
        "family": "GeneralizedRCNN",
        "roastery_version": "0.1.0",
        "dataset": "shapes_val",
        "original": "reference",
        "export": '{"batch":1,"decode":false}',
        "ap_delta_bbox": "-0.0125",
        "ap_delta_segm": "none",
        "ap_bbox": "62.4600",
        "ap_original_bbox": "62.4725",
    }


@pytest.mark.parametrize(
    ("passed", "judged_by", "expected"),
    [
        (True, "torch", ("candidate",)),
        (True, "caffe2", ("candidate", "validated")),
        (False, "torch", ()),
        (False, "caffe2", ()),
        (True, "onnxruntime", ("candidate", "validated")),
        (True, "onnxruntime-int8", ("candidate", "validated")),
        (False, "onnxruntime", ()),
    ],
)
def test_only_a_targets_most_genuine_runtime_validates_and_a_failed_gate_earns_no_alias(
    make_conversion, passed, judged_by, expected
):
    assert aliases(make_conversion(passed=passed, judged_by=judged_by).evaluation) == expected
