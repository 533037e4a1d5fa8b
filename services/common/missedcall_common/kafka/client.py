"""How our processes connect to Kafka: with kafka-python, and what aiokafka is told by the classifier.

Rule 1: a checksum in pure Python makes the client eight times slower and says nothing about it: without the
        compiled one no process starts.
Rule 2: whatever the client library raises while connecting is one error that says what to look at.
"""

import ssl
from pathlib import Path
from typing import Any, NamedTuple

from kafka.record import util

from missedcall_common.runtime.settings import SettingsError, read_secret

from .settings import KafkaSettings


class KafkaUnusableError(Exception):
    """Kafka cannot be used as it is set up; the text says why."""


class Login(NamedTuple):
    """Who we are to the brokers, by SASL."""

    mechanism: str
    username: str
    password: str


def connection(settings: KafkaSettings, client_id: str) -> dict[str, Any]:
    """Return the arguments that producers, consumers and admin clients of kafka-python have in common.

    Raises:
        KafkaUnusableError: the compiled checksum is missing.
        SettingsError: a file for TLS or the password's cannot be used.
    """
    if util.crc32c_c is None:
        raise KafkaUnusableError("the package crc32c is missing: install missedcall-common[kafka]")
    return {**reach(settings), "client_id": client_id}


def reach(settings: KafkaSettings) -> dict[str, Any]:
    """Return the arguments by which kafka-python and aiokafka alike come to the brokers.

    Raises:
        SettingsError: a file for TLS or the password's cannot be used.
    """
    arguments: dict[str, Any] = {
        "bootstrap_servers": list(settings.bootstrap),
        "security_protocol": security_protocol(settings),
        "ssl_context": tls_context(settings),
    }
    if (login := login_of(settings)) is not None:
        arguments |= {
            "sasl_mechanism": login.mechanism,
            "sasl_plain_username": login.username,
            "sasl_plain_password": login.password,
        }
    return arguments


def security_protocol(settings: KafkaSettings) -> str:
    """Return what Kafka calls the kind of connection."""
    return ("SASL_" if settings.sasl_mechanism else "") + ("SSL" if settings.tls else "PLAINTEXT")


def tls_context(settings: KafkaSettings) -> ssl.SSLContext | None:
    """Return whom to believe and who we are; None without TLS. Brokers must bear the name that they are called by.

    Raises:
        SettingsError: a file cannot be used.
    """
    if not settings.tls:
        return None
    key, path = "kafka.tls_ca_file", settings.tls_ca_file
    try:
        context = ssl.create_default_context(cafile=settings.tls_ca_file or None)
        if settings.tls_cert_file:
            key, path = "kafka.tls_cert_file", settings.tls_cert_file
            # An encrypted key would ask at the terminal.
            context.load_cert_chain(settings.tls_cert_file, settings.tls_key_file, password="")
    except ssl.SSLError as error:
        right = "expected certificates in PEM, and the key that goes with them, not encrypted"
        raise SettingsError([f"{key} = {path!r}: {error.reason or 'not usable'}: {right}"]) from error
    except OSError as error:
        raise SettingsError([f"{key} = {path!r}: {error.strerror}: expected a file to read"]) from error
    return context


def login_of(settings: KafkaSettings) -> Login | None:
    """Return who we are by SASL; None without it.

    Raises:
        SettingsError: the password's file cannot be read.
    """
    if not settings.sasl_mechanism:
        return None
    password = read_secret(Path(settings.sasl_password_file), "kafka.sasl_password_file")
    return Login(settings.sasl_mechanism, settings.sasl_username, password)
