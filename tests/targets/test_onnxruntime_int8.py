"""The target onnxruntime-int8: its row, and what it costs."""

from pathlib import Path

import pytest

from roastery.conversion import convert_to_directory
from roastery.evaluation.gate import GatePolicy
from roastery.spec import ModelSpec, PipelineConfig
from roastery.targets import target_of

ROOT = Path(__file__).parents[2]


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


@pytest.mark.timeout(900)
def test_a_model_in_8_bits_passes_its_own_gate_on_the_demos_images_and_names_its_worst_layers(
    mask_model: Path, tmp_path: Path
) -> None:
    """The issue's bound of 1.0 AP, on the 100 images of the demo; calibrated on images that are sampled beside them."""
    target = target_of("onnxruntime-int8")
    outcome = convert_to_directory(
        mask_model / "config.yaml",
        tmp_path / "out",
        ["MODEL.WEIGHTS", str(mask_model / "model_final.pkl")],
        run_eval=True,
        datasets=ROOT / "configs" / "datasets",
        policy=GatePolicy(**target.usual_gate.model_dump()),
        target=target,
    )

    evaluation = outcome.evaluation
    assert evaluation is not None
    assert evaluation.images == 100
    assert evaluation.passed, evaluation.verdicts
    deltas = evaluation.verdicts["onnxruntime-int8"].deltas
    for kind in ("bbox/AP", "segm/AP"):
        delta = deltas[kind]
        assert delta is not None
        # Rounded it is not the same.
        assert 0.0 < abs(delta) <= 1.0
    # Its outputs are not the detector's, and are not compared.
    assert outcome.parity == ()
    errors = [layer.error for layer in outcome.layers]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 0
    assert outcome.layers[0].layer.startswith(("backbone.", "proposal_generator.", "roi_heads."))
