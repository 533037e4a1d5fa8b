"""Alerts, dashboard, runbooks: about metrics that exist, about all of them; alerts come when they must."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from missedcall_common.runtime.metrics import Kind, catalogue, in_prometheus

ROOT = Path(__file__).resolve().parents[2]
RULES = ROOT / "helm/missedcall/files/rules/missedcall.yaml"
DASHBOARD = ROOT / "helm/missedcall/files/dashboards/missedcall.json"
RUNBOOKS = ROOT / "docs/runbooks.md"

NAMED = re.compile(r"missedcall_[a-z_]+")
PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(not PROMTOOL, reason="promtool is not installed (Debian: prometheus)")


DELAY = "missedcall_decision_delay_seconds"
COMMIT = "missedcall_commit_duration_seconds"
# fmt: off
CASES = {
    "MissedcallNothingReceived": [
        (True, "90m", {"missedcall_received_total": "0+60x60 3600x60"}, {}),
        (False, "90m", {"missedcall_received_total": "0+60x120"}, {}),
        (False, "90m", {"missedcall_received_total": "0x120"}, {}),
    ],
    "MissedcallInputDropped": [
        (True, "20m", {'missedcall_dropped_total{cause="kernel"}': "0+5x30"}, {"cause": "kernel"}),
        (False, "20m", {'missedcall_dropped_total{cause="kernel"}': "5x30"}, {}),
    ],
    "MissedcallInputRefused": [
        (True, "50m", {
            "missedcall_received_total": "0+100x60", "missedcall_malformed_hep_total": "0+6x60",
            "missedcall_malformed_sip_total": "0x60", "missedcall_auth_total": "0x60"}, {}),
        (False, "50m", {
            "missedcall_received_total": "0+100x60", "missedcall_malformed_hep_total": "0+2x60",
            "missedcall_malformed_sip_total": "0+2x60", "missedcall_auth_total": "0x60"}, {}),
    ],
    "MissedcallKafkaTakesNothing": [
        (True, "20m", {"missedcall_waiting": "0x10 5+5x20", "missedcall_published_total": "0+5x10 50x20"}, {}),
        (False, "20m", {"missedcall_waiting": "5x30", "missedcall_published_total": "0+5x30"}, {}),
        (False, "20m", {"missedcall_waiting": "0x30", "missedcall_published_total": "50x30"}, {}),
    ],
    "MissedcallSpooling": [
        (True, "30m", {"missedcall_spooled_total": "0+10x40"}, {}),
        (False, "30m", {"missedcall_spooled_total": "0+10x10 100x30"}, {}),
    ],
    "MissedcallPartitionBehind": [
        (True, "10m", {'missedcall_behind_seconds{partition="0"}': "1x30",
                       'missedcall_behind_seconds{partition="1"}': "61x30"}, {}),
        (False, "10m", {'missedcall_behind_seconds{partition="0"}': "1x30"}, {}),
    ],
    "MissedcallPartitionUnassigned": [
        (True, "40m", {'missedcall_partitions{pod="a"}': "4x60",
                       'missedcall_partitions{pod="b"}': "4x30 stale"}, {}),
        (False, "40m", {'missedcall_partitions{pod="a"}': "4x30 8x30",
                        'missedcall_partitions{pod="b"}': "4x30 0x30"}, {}),
    ],
    "MissedcallDecisionsLate": [
        (True, "90m", {f'{DELAY}_bucket{{le="5.0"}}': "0+80x120", f"{DELAY}_count": "0+100x120"}, {}),
        (False, "90m", {f'{DELAY}_bucket{{le="5.0"}}': "0+99x120", f"{DELAY}_count": "0+100x120"}, {}),
        (False, "90m", {f'{DELAY}_bucket{{le="5.0"}}': "0+50x60 3000+100x60",
                        f"{DELAY}_count": "0+100x120"}, {}),
    ],
    "MissedcallCommitsSlow": [
        (True, "40m", {f'{COMMIT}_bucket{{le="2.5"}}': "0+90x60", f'{COMMIT}_bucket{{le="5.0"}}': "0+100x60",
                       f'{COMMIT}_bucket{{le="+Inf"}}': "0+100x60"}, {}),
        (False, "40m", {f'{COMMIT}_bucket{{le="2.5"}}': "0+100x60", f'{COMMIT}_bucket{{le="5.0"}}': "0+100x60",
                        f'{COMMIT}_bucket{{le="+Inf"}}': "0+100x60"}, {}),
    ],
    "MissedcallRestarts": [
        (True, "20m", {
            'process_start_time_seconds{instance="a"}': "0x6 1 2 3 4x60",
            'target_info{instance="a",service_name="missedcall-classifier"}': "1x60"},
         {"service_name": "missedcall-classifier"}),
        (False, "20m", {
            'process_start_time_seconds{instance="a"}': "0x6 1 2 3x60",
            'target_info{instance="a",service_name="missedcall-classifier"}': "1x60"}, {}),
        (False, "20m", {
            'process_start_time_seconds{instance="a"}': "0x6 1 2 3 4x60",
            'target_info{instance="a",service_name="another"}': "1x60"}, {}),
    ],
    "MissedcallUndecidable": [
        (True, "30m", {"missedcall_undecidable_total": "0x10 1x60"}, {}),
        (True, "30m", {"missedcall_rule_failed_total": "0x10 1x60"}, {}),
        (False, "30m", {"missedcall_undecidable_total": "1x60"}, {}),
    ],
    "MissedcallLimitReached": [
        (True, "30m", {"missedcall_limit_total": "0+10x60"}, {}),
        (False, "30m", {"missedcall_limit_total": "0+1x60"}, {}),
    ],
    "MissedcallBlind": [
        (True, "60m", {"missedcall_gap_total": "0+1x90", 'missedcall_behind_seconds{partition="0"}': "1x90"}, {}),
        (False, "60m", {"missedcall_gap_total": "0x30 1x60",
                        'missedcall_behind_seconds{partition="0"}': "1x90"}, {}),
    ],
    "MissedcallChannelPaused": [
        (True, "20m", {'missedcall_channel_paused{channel="smtp"}': "1x30"}, {"channel": "smtp"}),
        (False, "20m", {'missedcall_channel_paused{channel="smtp"}': "1x5 0x30"}, {}),
    ],
    "MissedcallNoticesWait": [
        (True, "20m", {'missedcall_undelivered_age_seconds{channel="ews"}': "1801x30"}, {"channel": "ews"}),
        (False, "20m", {'missedcall_undelivered_age_seconds{channel="ews"}': "60x30"}, {}),
    ],
    "MissedcallNoticesGivenUp": [
        (True, "30m", {'missedcall_notices_total{cause="dead"}': "0x10 2x60"}, {}),
        (False, "30m", {'missedcall_notices_total{cause="sent"}': "0+5x60"}, {}),
    ],
}
# fmt: on
"""Whether it comes, when, from which series (a sample a minute, as promtool writes them), with which labels."""


def alerts():
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def expressions():
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return [target["expr"] for panel in panels for target in panel.get("targets", ())]


def names(text):
    return {re.sub(r"_(bucket|count|sum)$", "", name) for name in NAMED.findall(text)}


def filled(text, labels):
    """Return an annotation as Prometheus writes it."""
    for name, value in labels.items():
        text = text.replace(f"{{{{ $labels.{name} }}}}", value)
    return text


KNOWN = {in_prometheus(name, metric): metric for name, metric in catalogue().items()}


def test_the_dashboard_is_fresh():
    made = subprocess.run([sys.executable, ROOT / "tools/dashboard.py"], capture_output=True, check=True)

    assert DASHBOARD.read_bytes() == made.stdout, "run `make docs`"


def test_every_metric_is_on_the_dashboard_and_no_other():
    assert {name for expression in expressions() for name in names(expression)} == KNOWN.keys()


def test_alerts_are_about_metrics_that_there_are():
    assert {name for alert in alerts() for name in names(alert["expr"])} <= KNOWN.keys()


def test_quantiles_are_asked_of_histograms_and_rates_of_counters():
    for text in [*expressions(), *(alert["expr"] for alert in alerts())]:
        for name in re.findall(r"(?:rate|increase)\((missedcall_[a-z_]+)", text):
            bare = re.sub(r"_(bucket|count|sum)$", "", name)
            assert KNOWN[bare].kind is (Kind.HISTOGRAM if bare != name else Kind.COUNTER), name


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert["alert"])
def test_each_alert_says_how_urgent_it_is_and_what_to_do(alert):
    assert alert["labels"]["severity"] in {"page", "ticket"}
    assert alert["annotations"]["summary"].endswith(".")
    assert alert["annotations"]["runbook"] == f"docs/runbooks.md#{alert['alert'].lower()}"


def test_each_alert_has_a_runbook_and_each_runbook_an_alert():
    assert re.findall(r"^## (\w+)$", RUNBOOKS.read_text(), re.MULTILINE) == [
        alert["alert"] for alert in alerts()
    ]


@needs_promtool
def test_prometheus_can_read_all_expressions(tmp_path):
    texts = [text.replace("$__rate_interval", "5m") for text in expressions()]
    rules = [{"record": f"dashboard:{number}", "expr": text} for number, text in enumerate(texts)]
    (tmp_path / "dashboard.yaml").write_text(
        yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]})
    )

    for file in (RULES, tmp_path / "dashboard.yaml"):
        done = subprocess.run([PROMTOOL, "check", "rules", file], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_alerts_come_when_they_must_and_not_otherwise(tmp_path):
    rules = {alert["alert"]: alert for alert in alerts()}
    tests = []
    for name, cases in CASES.items():
        for comes, at, series, labels in cases:
            rule = rules[name]
            told = {
                "exp_labels": {**rule["labels"], **labels},
                "exp_annotations": {key: filled(text, labels) for key, text in rule["annotations"].items()},
            }
            tests.append(
                {
                    "interval": "1m",
                    "input_series": [{"series": one, "values": values} for one, values in series.items()],
                    "alert_rule_test": [
                        {"eval_time": at, "alertname": name, "exp_alerts": [told] if comes else []}
                    ],
                }
            )
    file = tmp_path / "cases.yaml"
    file.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": tests}))
    done = subprocess.run([PROMTOOL, "test", "rules", file], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_cases_in_which_it_comes_and_in_which_it_does_not():
    assert CASES.keys() == {alert["alert"] for alert in alerts()}
    assert all({comes for comes, *_ in cases} == {True, False} for cases in CASES.values())
