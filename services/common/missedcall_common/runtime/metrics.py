"""The names under which our numbers leave a process: the catalogue of metrics.

Rule 1: a counter of `counters.COUNTERS` is the metric `missedcall.` and its name, `_` for `-`; what follows in
        the name of a family is the attribute `cause`. There is no second list of counters.
Rule 2: an attribute has few values, all of them words of ours: partition, channel, cause. Never a person's.
Rule 3: units are UCUM's; a name says what is measured and not how (`seconds` and `total` are added by Prometheus).
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final, NamedTuple

from .counters import COUNTERS

NAMESPACE: Final = "missedcall."


class Kind(StrEnum):
    """What can be done with a number."""

    COUNTER = "counter"
    """Only grows, from 0 at each start."""
    GAUGE = "gauge"
    """As it is now."""
    HISTOGRAM = "histogram"
    """Many of one kind, by size."""


class Metric(NamedTuple):
    """One row of the catalogue."""

    kind: Kind
    unit: str
    meaning: str
    attributes: tuple[str, ...] = ()


# fmt: off
OTHERS: Final[Mapping[str, Metric]] = MappingProxyType(
    {
        "missedcall.waiting": Metric(Kind.GAUGE, "", "Messages received and not yet acknowledged by Kafka"),
        "missedcall.backlog": Metric(Kind.GAUGE, "By", "Memory that these take"),
        "missedcall.open_calls": Metric(Kind.GAUGE, "", "Calls that are not decided yet"),
        "missedcall.behind": Metric(
            Kind.GAUGE, "s", "How old the latest batch is that was decided, by partition", ("partition",)
        ),
        "missedcall.partitions": Metric(Kind.GAUGE, "", "Partitions that this worker has and has loaded"),
        "missedcall.commit.duration": Metric(
            Kind.HISTOGRAM, "s", "One transaction, from its begin to Kafka's answer"
        ),
        "missedcall.decision.delay": Metric(
            Kind.HISTOGRAM,
            "s",
            "From what decided a missed call, by the collector's clock, to its fact being committed",
        ),
        "missedcall.undelivered": Metric(
            Kind.GAUGE, "", "Deliveries begun and not ended, by channel", ("channel",)
        ),
        "missedcall.undelivered.age": Metric(Kind.GAUGE, "s", "Age of the oldest of them", ("channel",)),
        "missedcall.channel.paused": Metric(
            Kind.GAUGE, "", "1 while a channel is down and only asked now and then", ("channel",)
        ),
        "missedcall.delivery.duration": Metric(
            Kind.HISTOGRAM, "s", "From the intent to the target's acceptance", ("channel",)
        ),
    }
)
# fmt: on
"""All that is no counter."""

BOUNDS_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0)
"""Of every histogram: from a commit to a night's outage."""


def metric_of(counter: str) -> tuple[str, str]:
    """Return the metric that a counter's name belongs to, and its `cause`, "" if the row is no family.

    Raises:
        KeyError: the counter is in no row.
    """
    row = counter
    if row not in COUNTERS:
        families = [name for name in COUNTERS if name[-1:] in ".-:" and counter.startswith(name)]
        if not families:
            raise KeyError(counter)
        row = max(families, key=len)
    return NAMESPACE + row.rstrip(".-:").replace("-", "_"), counter[len(row) :]


def catalogue() -> dict[str, Metric]:
    """Return every metric by name."""
    counted = {
        metric_of(row)[0]: Metric(Kind.COUNTER, "", meaning, ("cause",) if row[-1:] in ".-:" else ())
        for row, meaning in COUNTERS.items()
    }
    return counted | dict(OTHERS)


def in_prometheus(name: str, metric: Metric) -> str:
    """Return the name that Prometheus knows the metric by; of a histogram without `_bucket`, `_count`, `_sum`."""
    unit = {"s": "_seconds", "By": "_bytes"}.get(metric.unit, "")
    return name.replace(".", "_") + unit + ("_total" if metric.kind is Kind.COUNTER else "")
