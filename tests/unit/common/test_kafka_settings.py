import pytest
from kafka.record import util

from missedcall_common.kafka import client
from missedcall_common.kafka.client import KafkaUnusableError, connection
from missedcall_common.kafka.settings import PREFIX, KafkaSettings
from missedcall_common.runtime.settings import SettingsError, from_environment


def read(**variables):
    given = {f"{PREFIX}{name}": value for name, value in variables.items()}
    return from_environment(KafkaSettings, {f"{PREFIX}BOOTSTRAP": "a:9092, [::1]:9093", **given}, PREFIX)


def test_brokers_are_a_list():
    assert read().bootstrap == ("a:9092", "[::1]:9093")


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"BOOTSTRAP": "a"}, "HOST:PORT"),
        ({"PREFIX": "a b"}, "letters, digits"),
        ({"TLS_CA_FILE": "/ca.pem"}, "tls is off"),
        ({"TLS": "true", "TLS_CERT_FILE": "/c.pem"}, "go together"),
        ({"SASL_MECHANISM": "PLAIN"}, "needs sasl_username and sasl_password_file"),
        ({"SASL_PASSWORD": "secret"}, "MISSEDCALL_KAFKA_SASL_PASSWORD_FILE"),
    ],
)
def test_what_does_not_go_together_is_refused_and_says_why(variables, says):
    with pytest.raises(SettingsError, match=says):
        read(**variables)


def test_the_password_is_read_from_its_file(tmp_path):
    secret = tmp_path / "password"
    secret.write_text("s3cret\n")
    arguments = connection(
        read(TLS="true", SASL_MECHANISM="PLAIN", SASL_USERNAME="u", SASL_PASSWORD_FILE=str(secret)), "me"
    )

    assert arguments["security_protocol"] == "SASL_SSL"
    assert arguments["sasl_plain_password"] == "s3cret"


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"TLS_CA_FILE": "/nowhere/ca.pem"}, r"kafka\.tls_ca_file = '/nowhere/ca\.pem': No such file"),
        ({"TLS_CA_FILE": "empty"}, r"kafka\.tls_ca_file = .*expected certificates in PEM"),
        (
            {"TLS_CERT_FILE": "empty", "TLS_KEY_FILE": "empty"},
            r"kafka\.tls_cert_file = .*expected certificates",
        ),
    ],
)
def test_a_file_for_tls_that_cannot_be_used_is_named(tmp_path, variables, says):
    (tmp_path / "empty").write_text("nothing\n")
    found = {name: str(tmp_path / value) if value == "empty" else value for name, value in variables.items()}

    with pytest.raises(SettingsError, match=says):
        connection(read(TLS="true", **found), "me")


def test_without_the_compiled_checksum_nothing_starts(monkeypatch):
    monkeypatch.setattr(util, "crc32c_c", None)

    with pytest.raises(KafkaUnusableError, match="crc32c is missing"):
        client.connection(read(), "me")


def test_the_compiled_checksum_is_installed_here():
    assert connection(read(), "me")["security_protocol"] == "PLAINTEXT"
