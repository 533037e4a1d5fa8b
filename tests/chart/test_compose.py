"""compose.yaml gives each service an environment that it takes."""

import re

import pytest
import yaml
from support.chart import ROOT

from missedcall_classifier.stream.settings import load as load_classifier
from missedcall_collector.service_settings import CollectorSettings
from missedcall_common.kafka.plan import plan
from missedcall_common.kafka.settings import PREFIX as KAFKA
from missedcall_common.kafka.settings import KafkaSettings
from missedcall_common.runtime.settings import from_environment
from missedcall_notifier.stream.settings import load as load_notifier

GIVEN = {
    "SMTP_HOST": "mail.example.com",
    "SMTP_SENDER": "missed-calls@example.com",
    "SMTP_PATTERN": "{user}@example.com",
    "SMTP_HOSTS": "example.com",
}
SERVICES = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))["services"]


def environment(name):
    def value(match):
        return GIVEN.get(match[1], match[2] or "")

    pairs = SERVICES[name]["environment"].items()
    return {key: re.sub(r"\$\{(\w+)(?::-([^}]*))?\}", value, text) for key, text in pairs}


def test_the_services_take_their_environment():
    collector = from_environment(CollectorSettings, environment("collector"))
    one, other = (load_classifier(environment(f"classifier-{number}"))[0] for number in (1, 2))
    notifier = load_notifier(environment("notifier-smtp"))
    made = plan(from_environment(KafkaSettings, environment("topics"), KAFKA))

    assert collector.listen.udp == ("0.0.0.0:9060",)
    assert one.worker != other.worker
    assert {topic.name for topic in plan(notifier.kafka)} <= {topic.name for topic in made}
    assert len({each.kafka.partitions for each in (collector, one, other, notifier)}) == 1


@pytest.mark.parametrize("name", sorted(SERVICES.keys() - {"kafka"}))
def test_a_service_has_no_more_rights_than_on_kubernetes(name):
    service = SERVICES[name]

    assert service["read_only"] is True
    assert service["user"] == "65532:65532"
    assert service["cap_drop"] == ["ALL"]
    assert service["build"]["args"]["SERVICE"] in service["image"]


def test_kafka_is_the_users_choice():
    assert SERVICES["kafka"]["image"].startswith("${KAFKA_IMAGE:?")
