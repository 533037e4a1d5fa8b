"""Whether Kafka can be used as the services use it: brokers, topics, partition counts, rights.

Rule 1: nothing is created and nothing is read but what brokers tell about themselves.
Rule 2: rights are what brokers say that this user may do (KIP-430); brokers that do not say are believed.
"""

import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import NamedTuple

from missedcall_common.kafka.client import KafkaUnusableError, tls_context
from missedcall_common.kafka.partitioning import look
from missedcall_common.kafka.plan import Found, differences, name_of, plan, refusals
from missedcall_common.kafka.rights import lacking
from missedcall_common.kafka.settings import KafkaSettings
from missedcall_common.kafka.topics import connected
from missedcall_common.runtime.settings import SettingsError
from missedcall_notifier.people.log import DIRECTORY, PREFERENCES

from .findings import Finding, State, untested

NAME = "kafka"
CONNECT_S = 5.0
"""To connect to a broker. Less: a busy one counts as absent."""
CREATE = "python -m missedcall_common.kafka creates it, as a user who may"


class Cause(NamedTuple):
    """What it means that we do not get on with the brokers."""

    name: str
    step: str
    words: str
    todo: str


# fmt: off
CAUSES: dict[str, Cause] = {cause.name: cause for cause in (
    Cause("settings", "brokers", "a file for TLS or the password's cannot be used",
          "see MISSEDCALL_KAFKA_..._FILE"),
    Cause("unreachable", "brokers", "no broker answers",
          "check MISSEDCALL_KAFKA_BOOTSTRAP, and whether a firewall stands between"),
    Cause("certificate", "tls", "the broker's certificate is not believed",
          "name the authority in MISSEDCALL_KAFKA_TLS_CA_FILE; brokers have to bear the names they are called by"),
    Cause("no-tls", "tls", "the broker speaks no TLS on this port", "another port, or MISSEDCALL_KAFKA_TLS=false"),
    Cause("login", "login", "the brokers refuse the login",
          "check MISSEDCALL_KAFKA_SASL_MECHANISM, _USERNAME and _PASSWORD_FILE"),
    Cause("refused", "login", "the brokers do not talk to us",
          "do they want TLS, a certificate (MISSEDCALL_KAFKA_TLS_CERT_FILE) or a login (_SASL_...)?"),
)}

# fmt: on

STEPS = ("brokers", "tls", "login", "topics", "rights")


def check_kafka(settings: KafkaSettings) -> Iterator[Finding]:
    """Check a cluster. Blocks."""
    wanted = plan(settings)
    steps = [step for step in STEPS if step != "tls" or settings.tls]
    cause = _reach(settings)
    if not cause:
        try:
            with suppress(KafkaUnusableError):  # who only delivers need not know how the log is cut
                wanted = plan(settings, look(settings, "missedcall-check").partitioning.cut)
            with connected(settings, "missedcall-check") as topics:
                found = topics.find(topic.name for topic in wanted)
                with suppress(KafkaUnusableError):  # nor how topics are set
                    found = topics.find_with_settings(found)
        except SettingsError:
            cause = "settings"
        except KafkaUnusableError:
            cause = "login" if settings.sasl_mechanism else "refused"
    if cause:
        _, failing, words, todo = CAUSES[cause]
        at = steps.index(failing)
        yield from (Finding(NAME, step, State.OK) for step in steps[:at])
        yield Finding(NAME, failing, State.FAILS, words, todo)
        yield from untested(NAME, tuple(steps[at + 1 :]), f"{failing} comes first")
        return
    yield from (Finding(NAME, step, State.OK) for step in steps[:-2])
    missing = [topic.name for topic in wanted if topic.name not in found]
    wrong = list(refusals(wanted, found))
    for name in missing:
        yield Finding(NAME, "topics", State.FAILS, f"{name} is missing", CREATE)
    for text in wrong:
        words, _, todo = text.partition(": ")
        yield Finding(NAME, "topics", State.FAILS, words, todo)
    if not missing and not wrong:
        told = "; ".join(differences(wanted, found))
        seen = [topic for topic in found.values() if not topic.hidden]
        words = f"{len(seen)}, {sum(topic.partitions for topic in seen)} partitions" + (
            f"; differ from the release: {told}" if told else ""
        )
        yield Finding(NAME, "topics", State.OK, words)
    not_always = {name_of(topic, settings) for topic in (DIRECTORY, PREFERENCES)}
    yield from _rights(settings, {name: topic for name, topic in found.items() if name not in not_always})


def _rights(settings: KafkaSettings, found: Mapping[str, Found]) -> Iterator[Finding]:
    if not found or any(topic.may is None for topic in found.values()):
        yield Finding(NAME, "rights", State.UNTESTED, "the brokers do not say what this user may do")
        return
    lacks = list(lacking("notifier", settings, found))
    for lack in lacks:
        words = f"this user may not {lack.operation.lower()} {lack.topic}"
        todo = f"grant {lack.operation} on it, if the notifier is this user: docs/rights.md"
        yield Finding(NAME, "rights", State.FAILS, words, todo)
    if not lacks:
        yield Finding(NAME, "rights", State.OK)


def _reach(settings: KafkaSettings) -> str:
    """Return the cause if none of the brokers that are named takes a connection; "" if one does."""
    cause = "unreachable"
    try:
        trust = tls_context(settings)
    except SettingsError:
        return "settings"
    for broker in settings.bootstrap:
        host, _, port = broker.rpartition(":")
        host = host.strip("[]")
        try:
            with socket.create_connection((host, int(port)), CONNECT_S) as plain:
                if trust is not None:
                    trust.wrap_socket(plain, server_hostname=host).close()
                return ""
        except ssl.SSLCertVerificationError:
            cause = "certificate"
        except ssl.SSLError:
            cause = "no-tls"
        except OSError:
            continue
    return cause
