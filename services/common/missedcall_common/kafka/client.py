"""How our processes connect to Kafka.

Rule 1: a checksum in pure Python makes the client eight times slower and says nothing about it: without the
        compiled one no process starts.
Rule 2: whatever the client library raises while connecting is one error that says what to look at.
"""

from pathlib import Path
from typing import Any

from kafka.record import util

from missedcall_common.runtime.settings import read_secret

from .settings import KafkaSettings


class KafkaUnusableError(Exception):
    """Kafka cannot be used as it is set up; the text says why."""


def connection(settings: KafkaSettings, client_id: str) -> dict[str, Any]:
    """Return the arguments that producers, consumers and admin clients of kafka-python have in common.

    Raises:
        KafkaUnusableError: the compiled checksum is missing.
        SettingsError: the password's file cannot be read.
    """
    if util.crc32c_c is None:
        raise KafkaUnusableError("the package crc32c is missing: install missedcall-common[kafka]")
    arguments: dict[str, Any] = {
        "bootstrap_servers": list(settings.bootstrap),
        "client_id": client_id,
        "security_protocol": ("SASL_" if settings.sasl_mechanism else "")
        + ("SSL" if settings.tls else "PLAINTEXT"),
    }
    if settings.tls:
        arguments |= {
            "ssl_cafile": settings.tls_ca_file or None,
            "ssl_certfile": settings.tls_cert_file or None,
            "ssl_keyfile": settings.tls_key_file or None,
        }
    if settings.sasl_mechanism:
        password = read_secret(Path(settings.sasl_password_file), "kafka.sasl_password_file")
        arguments |= {
            "sasl_mechanism": settings.sasl_mechanism,
            "sasl_plain_username": settings.sasl_username,
            "sasl_plain_password": password,
        }
    return arguments
