"""What the registry holds, as Prometheus reads it: each scrape asks anew."""

import logging
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from roastery.errors import RoasteryError
from roastery.registry.answers import ModelAnswer
from roastery.registry.registry import Registry

_logger = logging.getLogger(__name__)

GAUGES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "roastery_registry_up": ("1 where the registry answered.", ()),
    "roastery_registry_seconds": ("What it took to answer.", ()),
    "roastery_models": ("Models by the verdict of their newest version; none: not converted yet.", ("verdict",)),
    "roastery_model_passed": ("1 where the newest version passes its gate.", ("model", "target")),
    "roastery_model_stale": ("1 where it would be converted anew.", ("model", "target")),
    "roastery_model_version": ("The newest version's number.", ("model", "target")),
    "roastery_model_ap": ("AP of the newest version, 0..100.", ("model", "target", "figure")),
    "roastery_model_ap_difference": ("AP, converted minus original, in points.", ("model", "target", "figure")),
    "roastery_model_converted_timestamp_seconds": ("When it was filed.", ("model", "target")),
    "roastery_model_measured_timestamp_seconds": ("When it was measured last.", ("model", "target")),
}
"""Every gauge: what it says, and its labels."""


class RegistryCollector(Collector):
    """Asks the registry when it is scraped. Where that fails, `roastery_registry_up` is 0, and nothing else is told."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """Nobody asks the registry to find out what there will be."""
        return [_family(name) for name in GAUGES]

    def collect(self) -> Iterator[GaugeMetricFamily]:
        started = time.perf_counter()
        try:
            answers = self._registry.models()
        except RoasteryError as error:
            _logger.warning("the registry did not answer: %s", error)
            yield _of_all("roastery_registry_up", 0.0)
            return
        yield _of_all("roastery_registry_up", 1.0)
        yield _of_all("roastery_registry_seconds", time.perf_counter() - started)
        yield from _families(answers)


def _families(answers: Iterable[ModelAnswer]) -> Iterator[GaugeMetricFamily]:
    families = {name: _family(name) for name, (_, labels) in GAUGES.items() if labels}
    verdicts: Counter[str] = Counter({"passed": 0, "failed": 0, "none": 0})
    for answer in answers:
        verdicts[answer.verdict or "none"] += 1
        if answer.converted_version is None:
            continue
        labels = [answer.model, answer.target or ""]
        said = {
            "passed": float(answer.verdict == "passed"),
            "stale": float(bool(answer.stale)),
            "version": float(answer.converted_version),
            "converted_timestamp_seconds": _seconds(answer.converted_at),
            "measured_timestamp_seconds": _seconds(answer.measured_at),
        }
        for name, value in said.items():
            if value is not None:
                families[f"roastery_model_{name}"].add_metric(labels, value)
        for name, figures in (("ap", answer.ap), ("ap_difference", answer.ap_delta)):
            for figure, points in figures.items():
                if points is not None:
                    families[f"roastery_model_{name}"].add_metric([*labels, figure], points)
    for verdict, count in verdicts.items():
        families["roastery_models"].add_metric([verdict], count)
    yield from families.values()


def _family(name: str) -> GaugeMetricFamily:
    words, labels = GAUGES[name]
    return GaugeMetricFamily(name, words, labels=labels)


def _of_all(name: str, value: float) -> GaugeMetricFamily:
    family = _family(name)
    family.add_metric([], value)
    return family


def _seconds(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()
