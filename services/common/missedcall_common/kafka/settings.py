"""Where Kafka is, who we are there, and how our topics are named and cut.

Rule 1: no secret is a setting; a setting names the file that holds it.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct

PREFIX = "MISSEDCALL_KAFKA_"

_PORT = r"(?:\d{1,4}|[1-5]\d{4}|6[0-4]\d{3}|65[0-4]\d\d|655[0-2]\d|6553[0-5])"
Broker = Annotated[
    str,
    Meta(
        pattern=rf"^(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):{_PORT}$",
        description="HOST:PORT, IPv6 in brackets",
    ),
]
NamePart = Annotated[
    str, Meta(pattern=r"^[A-Za-z0-9._-]*$", max_length=200, description="letters, digits, `.`, `_`, `-`")
]


class KafkaSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One cluster and our place in it."""

    bootstrap: Annotated[tuple[Broker, ...], Meta(min_length=1)]
    """Some of the brokers; the rest is learnt from them."""

    prefix: NamePart = ""
    """Put before every topic's name as it is: several deployments on one cluster."""
    generation: Annotated[int, Meta(ge=1, le=999)] = 1
    """From 2 on topics are called `missed-calls.g2`: the way to another partition count."""
    partitions: Annotated[int, Meta(ge=1, le=10_000)] = 48
    """Of the topics that are read by partition. Part of the data format: fixed for the life of a generation.
    Fewer: no more classifiers than that. More: more, and smaller, records."""
    replicas: Annotated[int, Meta(ge=1, le=15)] = 3
    """Of a new topic. Less than 3: a broker's death can cost what it had acknowledged, or stops the writers."""
    channels: tuple[NamePart, ...] = ("smtp", "webhook")
    """Delivery channels; each has a journal topic of its own."""

    tls: bool = False
    tls_ca_file: str = ""
    """PEM: whom to believe; empty: the system's authorities."""
    tls_cert_file: str = ""
    """PEM: who we are, where brokers ask for it."""
    tls_key_file: str = ""
    """PEM, not encrypted."""
    sasl_mechanism: Literal["", "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = ""
    sasl_username: str = ""
    sasl_password_file: str = ""

    def __post_init__(self) -> None:
        if bool(self.tls_cert_file) != bool(self.tls_key_file):
            raise ValueError("kafka: tls_cert_file and tls_key_file go together")
        if (self.tls_ca_file or self.tls_cert_file) and not self.tls:
            raise ValueError("kafka: files for TLS are named, but tls is off")
        if self.sasl_mechanism and not (self.sasl_username and self.sasl_password_file):
            raise ValueError("kafka: sasl_mechanism needs sasl_username and sasl_password_file")
