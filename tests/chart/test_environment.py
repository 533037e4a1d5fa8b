"""Every service takes the environment that the chart gives it, name by name and value by value."""

import pytest
from support import chart
from support.chart import CASES, pods, rendered

from missedcall_classifier.stream.settings import load as load_classifier
from missedcall_collector.service_settings import CollectorSettings
from missedcall_common.kafka.plan import plan
from missedcall_common.kafka.settings import PREFIX as KAFKA
from missedcall_common.kafka.settings import KafkaSettings
from missedcall_common.runtime.settings import from_environment, variables
from missedcall_notifier.stream.settings import ServiceSettings
from missedcall_notifier.stream.settings import load as load_notifier


def environments(case):
    """Return the environment of each pod as its process finds it; the pod is called as its workload."""
    found = {}
    for name, pod in pods(rendered(case)):
        (container,) = pod["spec"]["containers"]
        plain = name.partition("/")[2].removeprefix("mc-missedcall-")
        found[plain] = {each["name"]: each.get("value", name.partition("/")[2]) for each in container["env"]}
    return found


@pytest.fixture
def users(tmp_path):
    path = tmp_path / "users.txt"
    path.write_text("sip:alice@example.com\n")
    return str(path)


@pytest.mark.parametrize("case", CASES)
def test_the_services_take_their_environment(case, users):
    for name, found in environments(case).items():
        if name == "collector":
            settings = from_environment(CollectorSettings, found)
            listening = [*settings.listen.udp, *settings.listen.tcp, *settings.listen.tls]
            assert listening
            assert not any("127.0.0.1" in each for each in listening)
            assert settings.health.endswith(":8080")
        elif name == "classifier":
            if "MISSEDCALL_DECIDE_USERS_FILE" in found:
                found["MISSEDCALL_DECIDE_USERS_FILE"] = users
            settings, policy = load_classifier(found)
            assert settings.worker == "mc-missedcall-classifier"
            assert (policy.users is None) == ("MISSEDCALL_DECIDE_USERS_FILE" not in found)
        elif name.startswith("notifier-"):
            without_people = {
                key: value
                for key, value in found.items()
                if key != "MISSEDCALL_NOTIFY_PEOPLE_TEMPLATES_FOLDER"
            }
            settings = load_notifier(without_people)
            assert name == f"notifier-{settings.channel}"
        elif name.startswith("scale-"):
            settings, _ = load_classifier(found)
            assert settings.application == environments(case)["classifier"]["MISSEDCALL_APPLICATION"]
        else:
            assert name in ("topics", "test")
            settings = from_environment(KafkaSettings, found, KAFKA)
            assert settings.bootstrap


@pytest.mark.parametrize("case", CASES)
def test_the_job_makes_the_journals_of_the_channels_that_are_on(case):
    found = environments(case)
    if "topics" not in found:
        pytest.skip("topics by somebody else")
    topics = {topic.name for topic in plan(from_environment(KafkaSettings, found["topics"], KAFKA))}
    for name, own in found.items():
        if name.startswith("notifier-"):
            kafka = load_notifier(own).kafka
            assert {topic.name for topic in plan(kafka)} <= topics


@pytest.mark.parametrize("case", CASES)
def test_groups_are_those_that_autoscalers_and_rights_name(case):
    groups = {}
    for name, own in environments(case).items():
        if name == "classifier":
            groups[name] = own["MISSEDCALL_APPLICATION"]
        elif name.startswith("notifier-"):
            groups[name] = load_notifier(own).group
    for each in rendered(case):
        component = each["metadata"].get("labels", {}).get("app.kubernetes.io/component")
        if each["kind"] == "ScaledObject":
            (trigger,) = each["spec"]["triggers"]
            if trigger["type"] == "kafka":
                assert trigger["metadata"]["consumerGroup"] == groups[component]
        if each["kind"] == "KafkaUser" and component in groups:
            named = [a["resource"]["name"] for a in each["spec"]["authorization"]["acls"]]
            assert groups[component] in named


def test_the_schema_knows_every_variable_that_the_chart_does_not_set_itself():
    import chart as tool

    for service, kind in (("collector", CollectorSettings), ("notifier", ServiceSettings)):
        offered = {
            name
            for channel in ("", "smtp", "ews", "graph", "webhook")
            for files in (True, False)
            for name in tool.settings_of(service, channel, files=files)
        }
        set_by_us = set(variables(kind)) - offered
        assert all(
            tool.OURS.match(name.removeprefix("MISSEDCALL_")) or tool.TABLES.search(name)
            for name in set_by_us
        )
        assert chart.PREFIX + "REPORT_S" in offered
