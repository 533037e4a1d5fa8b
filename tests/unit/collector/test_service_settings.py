import pytest

from missedcall_classifier.policy import Policy
from missedcall_collector.service_settings import CollectorSettings
from missedcall_common.runtime.settings import SettingsError, from_environment

KAFKA = {"MISSEDCALL_KAFKA_BOOTSTRAP": "kafka:9092"}


def test_collectors_and_classifiers_find_the_same_key_by_default():
    settings = from_environment(CollectorSettings, KAFKA)

    assert settings.correlation_headers == Policy().correlation_headers
    assert settings.call_id_suffixes == Policy().call_id_suffixes


def test_settings_are_read_by_group():
    settings = from_environment(
        CollectorSettings,
        {**KAFKA, "MISSEDCALL_LISTEN_UDP": "0.0.0.0:9060,[::]:9060", "MISSEDCALL_SPOOL_MB": "100"},
    )

    assert settings.listen.udp == ("0.0.0.0:9060", "[::]:9060")
    assert settings.spool.mb == 100


@pytest.mark.parametrize("target", ["http://a:1", "udp://a", "tcp://a:b", "a:1"])
def test_a_relay_that_is_no_target_is_refused(target):
    with pytest.raises(SettingsError, match="udp://HOST:PORT or tcp://HOST:PORT"):
        from_environment(CollectorSettings, {**KAFKA, "MISSEDCALL_RELAY": target})


def test_without_a_cluster_there_is_no_service():
    with pytest.raises(SettingsError, match="MISSEDCALL_KAFKA_BOOTSTRAP is not set"):
        from_environment(CollectorSettings, {})
