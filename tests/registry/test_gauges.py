"""What Prometheus is told is what the registry answers."""

from datetime import UTC, datetime
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from roastery.errors import RegistryUnavailable
from roastery.registry.answers import ModelAnswer
from roastery.registry.gauges import GAUGES, RegistryCollector
from roastery.registry.registry import Registry

MEASURED = datetime(2026, 11, 3, 2, 0, tzinfo=UTC)
ANSWERS = [
    ModelAnswer(
        model="signs",
        target="caffe2",
        converted_version=7,
        verdict="passed",
        ap={"bbox": 54.5, "segm": None},
        ap_delta={"bbox": -0.02, "segm": None},
        converted_at=MEASURED,
        measured_at=MEASURED,
    ),
    ModelAnswer(model="signs", target="onnxruntime-int8", converted_version=2, verdict="failed", stale=("older",)),
    ModelAnswer(model="new", source_version=1),
]


class Asked:
    """A registry that answers, or does not."""

    def __init__(self, answers: list[ModelAnswer] | None) -> None:
        self.answers = answers
        self.times = 0

    def models(self) -> list[ModelAnswer]:
        self.times += 1
        if self.answers is None:
            raise RegistryUnavailable("http://mlflow.example:5000: refused")
        return self.answers


def scraped(asked: Asked) -> dict[tuple[str, tuple[str, ...]], float]:
    """Name and labels to value, as Prometheus' own parser reads them."""
    from prometheus_client import generate_latest

    registry = CollectorRegistry()
    registry.register(RegistryCollector(cast(Registry, asked)))
    assert asked.times == 0, "nobody has asked yet"
    found = {}
    for family in text_string_to_metric_families(generate_latest(registry).decode()):
        for sample in family.samples:
            labels = GAUGES[sample.name][1]
            assert sample.labels.keys() == set(labels)
            found[sample.name, tuple(sample.labels[label] for label in labels)] = sample.value
    return found


def test_each_target_of_a_model_has_its_gauges_and_models_are_counted_by_verdict() -> None:
    found = scraped(Asked(ANSWERS))
    assert found.pop(("roastery_registry_seconds", ())) < 10
    caffe2, int8 = ("signs", "caffe2"), ("signs", "onnxruntime-int8")
    assert found == {
        ("roastery_registry_up", ()): 1.0,
        ("roastery_models", ("passed",)): 1.0,
        ("roastery_models", ("failed",)): 1.0,
        ("roastery_models", ("none",)): 1.0,
        ("roastery_model_passed", caffe2): 1.0,
        ("roastery_model_passed", int8): 0.0,
        ("roastery_model_stale", caffe2): 0.0,
        ("roastery_model_stale", int8): 1.0,
        ("roastery_model_version", caffe2): 7.0,
        ("roastery_model_version", int8): 2.0,
        ("roastery_model_ap", (*caffe2, "bbox")): 54.5,
        ("roastery_model_ap_difference", (*caffe2, "bbox")): -0.02,
        ("roastery_model_converted_timestamp_seconds", caffe2): MEASURED.timestamp(),
        ("roastery_model_measured_timestamp_seconds", caffe2): MEASURED.timestamp(),
    }


def test_a_registry_that_does_not_answer_is_down_and_nothing_else_is_said(caplog: pytest.LogCaptureFixture) -> None:
    assert scraped(Asked(None)) == {("roastery_registry_up", ()): 0.0}
    assert "mlflow.example" in caplog.text


def test_an_empty_registry_has_a_count_of_nothing() -> None:
    found: dict[Any, float] = scraped(Asked([]))
    assert [found["roastery_models", (verdict,)] for verdict in ("passed", "failed", "none")] == [0.0, 0.0, 0.0]
