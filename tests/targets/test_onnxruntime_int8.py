import pytest

from roastery.spec import ModelSpec, PipelineConfig
from roastery.targets import target_of


@pytest.fixture
def target():
    return target_of("onnxruntime-int8")


@pytest.fixture
def spec():
    return ModelSpec(
        name="m",
        config="c.yaml",
        weights="w.pkl",
        dataset="d",
        gate={"max_ap_delta": 0.3},
        int8={"float_layers": ["backbone.fpn_*"], "gate": {"max_ap_delta": 0.7, "require_parity": False}},
    )


def test_it_is_judged_by_its_own_gate_of_one_ap(target, spec):
    assert target.usual_gate.max_ap_delta == 1.0
    assert not target.usual_gate.require_parity
    assert target.gate(spec, PipelineConfig()).max_ap_delta == 0.7


def test_its_settings_are_the_layers_that_stay_float(target, spec):
    assert target.settings(spec) == {"float_layers": ["backbone.fpn_*"]}
    assert set(target.settings(spec)) == set(target.options)


def test_what_it_runs_in_is_its_own_and_not_the_float_targets(target, spec):
    assert target.chosen(spec) == ("onnxruntime-int8",)
    assert not set(target.runtimes) & set(target_of("onnxruntime").runtimes)
    assert target.registered("m") == "m.onnx-int8"
    assert not target.exact
