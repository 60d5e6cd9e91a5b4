"""Metrics as text: for Prometheus to scrape, for node_exporter to read, or for a person."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from strongroom.operations.metrics.measures import MEASURES, Measure, Observed

Family = CounterMetricFamily | GaugeMetricFamily


class MetricsCollector(Collector):
    """What Prometheus' client collects, anew for each scrape."""

    def __init__(self, observe: Callable[[], Observed]) -> None:
        self._observe = observe

    def collect(self) -> Iterator[Family]:
        """Yield every metric of which something is known."""
        seen = self._observe()
        for measure in MEASURES:
            family = _family(measure, seen)
            if family.samples:
                yield family

    def describe(self) -> Iterator[Family]:
        """Yield every metric without values: registering asks, and nothing is to be gathered for that."""
        return (_empty(measure) for measure in MEASURES)


def registry_of(observe: Callable[[], Observed]) -> CollectorRegistry:
    """Return what hands out metrics, for Prometheus' client."""
    registry = CollectorRegistry()
    registry.register(MetricsCollector(observe))
    return registry


def as_text(observed: Observed) -> bytes:
    """Return metrics in Prometheus' text format."""
    return generate_latest(registry_of(lambda: observed))


def _family(measure: Measure, seen: Observed) -> Family:
    family = _empty(measure)
    for labels, value in measure.samples(seen):
        if value is not None:
            family.add_metric(labels, float(value))
    return family


def _empty(measure: Measure) -> Family:
    kind = CounterMetricFamily if measure.kind == "counter" else GaugeMetricFamily
    return kind(measure.name, measure.says, labels=measure.labels)
