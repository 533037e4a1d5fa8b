"""Print the Grafana dashboard, made of its rows.

Every metric of the catalogue is on it: what nobody looks at need not be counted.
"""

import json
import sys
from typing import Any, NamedTuple


class Panel(NamedTuple):
    """One graph."""

    title: str
    unit: str
    """Grafana's: `short`, `s`, `bytes`, `ops` (per second)."""
    series: dict[str, str]
    """Legend -> PromQL."""


def rate(metric: str, by: str = "") -> str:
    """Return the growth per second of a counter over all instances, by a label."""
    inner = f"rate({metric}[$__rate_interval])"
    return f"sum by ({by}) ({inner})" if by else f"sum({inner})"


def rates(*metrics: str) -> dict[str, str]:
    """Return the growth of several counters, by their names."""
    return {metric.removeprefix("missedcall_").removesuffix("_total"): rate(metric) for metric in metrics}


def quantiles(metric: str, by: str = "") -> dict[str, str]:
    """Return median and 99th percentile of a histogram."""
    labels = f"le, {by}" if by else "le"
    legend = f" {{{{{by}}}}}" if by else ""
    return {
        f"p{percent}{legend}": f"histogram_quantile({percent / 100}, "
        f"sum by ({labels}) (rate({metric}_bucket[$__rate_interval])))"
        for percent in (50, 99)
    }


ROWS: dict[str, list[Panel]] = {
    "At a glance": [
        Panel("Received, published, decided", "ops", rates(
            "missedcall_received_total", "missedcall_published_total", "missedcall_accepted_total")),
        Panel("Missed calls told, by outcome of all calls", "ops", {
            "facts": rate("missedcall_facts_total"),
            "{{cause}}": rate("missedcall_outcome_total", "cause"),
        }),
        Panel("Lateness of facts", "s", quantiles("missedcall_decision_delay_seconds")),
        Panel("Undelivered notices", "short", {"{{channel}}": "sum by (channel) (missedcall_undelivered)"}),
    ],
    "Collector": [
        Panel("Dropped, by cause", "ops", {"{{cause}}": rate("missedcall_dropped_total", "cause")}),
        Panel("Not usable", "ops", rates(
            "missedcall_auth_total", "missedcall_malformed_hep_total", "missedcall_malformed_sip_total",
            "missedcall_not_sip_total", "missedcall_not_ip_total", "missedcall_tls_total",
            "missedcall_compressed_total",
            "missedcall_tcp_gap_total", "missedcall_fragments_incomplete_total", "missedcall_diagnostic_total",
            "missedcall_time_replaced_total", "missedcall_limit_total")),
        Panel("Waiting for Kafka", "short", {"messages": "sum(missedcall_waiting)"}),
        Panel("Memory that it takes", "bytes", {"backlog": "sum(missedcall_backlog_bytes)"}),
        Panel("Batches, disk, two partitions", "ops", rates(
            "missedcall_published_batches_total", "missedcall_spooled_total", "missedcall_doubled_total")),
        Panel("Connections", "ops", {
            **rates("missedcall_connections_opened_total", "missedcall_connections_timed_out_total",
                    "missedcall_connections_skipped_bytes_total"),
            "{{cause}}": rate("missedcall_connections_total", "cause"),
        }),
        Panel("Sent on to another receiver", "ops", rates(
            "missedcall_relayed_total", "missedcall_relay_lost_total")),
    ],
    "Classifier": [
        Panel("Seconds behind, by partition", "s", {
            "{{partition}}": "max by (partition) (missedcall_behind_seconds)"}),
        Panel("Partitions, open calls", "short", {
            "partitions": "sum(missedcall_partitions)", "open calls": "sum(missedcall_open_calls)"}),
        Panel("Transaction", "s", quantiles("missedcall_commit_duration_seconds")),
        Panel("Starts: an aborted transaction is one", "short", {
            "{{service_name}}": "sum by (service_name) (changes(process_start_time_seconds[$__rate_interval]) "
            '* on (job, instance) group_left (service_name) target_info{service_name=~"missedcall-.+"})'}),
        Panel("Batches, verdicts", "ops", rates(
            "missedcall_batches_total", "missedcall_turns_total", "missedcall_verdicts_total",
            "missedcall_noise_method_total", "missedcall_duplicate_total", "missedcall_invite_unseen_total")),
        Panel("Holes, doubts, mistakes", "short", {
            name: f"sum(increase(missedcall_{name}_total[$__rate_interval]))"
            for name in ("gap", "unrelated", "rule_failed", "undecidable")}),
    ],
    "Notifier": [
        Panel("Notices, by what became of them", "ops", {"{{cause}}": rate("missedcall_notices_total", "cause")}),
        Panel("From the fact to the target", "s", quantiles("missedcall_delivery_duration_seconds", "channel")),
        Panel("Oldest undelivered", "s", {"{{channel}}": "max by (channel) (missedcall_undelivered_age_seconds)"}),
        Panel("Channels that are down", "short", {"{{channel}}": "max by (channel) (missedcall_channel_paused)"}),
        Panel("Told to nobody, by reason", "ops", {"{{cause}}": rate("missedcall_unrouted_total", "cause")}),
        Panel("Journal", "ops", rates(
            "missedcall_transactions_total", "missedcall_transactions_failed_total", "missedcall_taken_over_total",
            "missedcall_given_up_total", "missedcall_redriven_total")),
        Panel("Templates that failed", "ops", rates("missedcall_template_failed_total")),
    ],
}  # fmt: skip

WIDTH, HEIGHT = 12, 8
SOURCE = {"type": "prometheus", "uid": "${datasource}"}


def panel(number: int, at: tuple[int, int], row: Panel) -> dict[str, Any]:
    """Return a panel of Grafana's dashboard schema 39."""
    return {
        "id": number,
        "type": "timeseries",
        "title": row.title,
        "datasource": SOURCE,
        "gridPos": {"x": at[0], "y": at[1], "w": WIDTH, "h": HEIGHT},
        "fieldConfig": {"defaults": {"unit": row.unit, "min": 0}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
        "targets": [
            {"refId": chr(65 + place), "datasource": SOURCE, "expr": expression, "legendFormat": legend}
            for place, (legend, expression) in enumerate(row.series.items())
        ],
    }


def dashboard() -> dict[str, Any]:
    """Return the dashboard."""
    panels: list[dict[str, Any]] = []
    y = 0
    for title, rows in ROWS.items():
        head = {"x": 0, "y": y, "w": 2 * WIDTH, "h": 1}
        panels.append(
            {
                "id": len(panels) + 1,
                "type": "row",
                "title": title,
                "collapsed": False,
                "gridPos": head,
                "panels": [],
            }
        )
        y += 1
        for place, row in enumerate(rows):
            at = (place % 2 * WIDTH, y + place // 2 * HEIGHT)
            panels.append(panel(len(panels) + 1, at, row))
        y += (len(rows) + 1) // 2 * HEIGHT
    return {
        "title": "missedcall",
        "uid": "missedcall",
        "schemaVersion": 39,
        "tags": ["missedcall", "sip"],
        "timezone": "browser",
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {
            "list": [
                {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"}
            ]
        },
        "panels": panels,
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(dashboard(), indent=1) + "\n")
