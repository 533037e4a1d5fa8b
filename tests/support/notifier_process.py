"""`python -m missedcall_notifier` as a process, and the facts that it is given."""

import os
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from kafka import KafkaProducer
from support.kafka_log import topic
from support.notify import make_fact
from support.pipeline_process import PipelineProcess
from support.webhook_sink import SECRET_LINE

from missedcall_schemas import cloudevents
from missedcall_schemas.codec import encode_missed_call

SERVICE = (sys.executable, "-m", "missedcall_notifier")
CRASHING = (sys.executable, str(Path(__file__).with_name("crashing_notifier.py")))


class NotifierProcess(PipelineProcess):
    """One worker. Use as an async context manager; whatever happens inside, it does not outlive it."""

    def __init__(self, environment: Mapping[str, str], command: Sequence[str] = SERVICE) -> None:
        super().__init__(
            command,
            {"PATH": os.environ["PATH"], "MISSEDCALL_REPORT_S": "0.3", **environment},
        )


def webhook(port: int, tmp_path: Path) -> dict[str, str]:
    """Return the settings of a channel that calls a sink on loopback, patient for no longer than a test is."""
    secret = tmp_path / "secret"
    secret.write_text(SECRET_LINE)
    return {
        "MISSEDCALL_NOTIFY_WEBHOOK_URL": f"http://127.0.0.1:{port}/hook",
        "MISSEDCALL_NOTIFY_WEBHOOK_INSECURE_HTTP": "true",
        "MISSEDCALL_NOTIFY_WEBHOOK_ALLOW": "127.0.0.1",
        "MISSEDCALL_NOTIFY_WEBHOOK_SECRET_FILE": str(secret),
        "MISSEDCALL_NOTIFY_WEBHOOK_RETRY_FIRST_S": "0.2",
        "MISSEDCALL_NOTIFY_WEBHOOK_RETRY_LONGEST_S": "0.5",
        "MISSEDCALL_NOTIFY_WEBHOOK_RETRY_THROTTLED_S": "0.2",
    }


def smtp(port: int) -> dict[str, str]:
    """Return the settings of a channel that mails to a sink on loopback."""
    return {
        "MISSEDCALL_NOTIFY_SMTP_HOST": "127.0.0.1",
        "MISSEDCALL_NOTIFY_SMTP_PORT": str(port),
        "MISSEDCALL_NOTIFY_SMTP_SECURITY": "none",
        "MISSEDCALL_NOTIFY_SMTP_HELO_NAME": "localhost",
        "MISSEDCALL_NOTIFY_SMTP_SENDER": "missed-calls@example.com",
        "MISSEDCALL_NOTIFY_SMTP_ALWAYS": "bob@example.com",
        "MISSEDCALL_NOTIFY_SMTP_RETRY_FIRST_S": "0.2",
        "MISSEDCALL_NOTIFY_SMTP_RETRY_LONGEST_S": "0.5",
    }


def ews(url: str, tmp_path: Path, account: str, password: str) -> dict[str, str]:
    """Return the settings of a channel that writes to our Exchange server on loopback."""
    file = tmp_path / "password"
    file.write_text(password)
    return {
        "MISSEDCALL_NOTIFY_EWS_URL": url,
        "MISSEDCALL_NOTIFY_EWS_AUTH": "basic",
        "MISSEDCALL_NOTIFY_EWS_USERNAME": account,
        "MISSEDCALL_NOTIFY_EWS_PASSWORD_FILE": str(file),
        "MISSEDCALL_NOTIFY_EWS_INSECURE_HTTP": "true",
        "MISSEDCALL_NOTIFY_EWS_SENDER": "missed-calls@example.com",
        "MISSEDCALL_NOTIFY_EWS_ALWAYS": "bob@example.com",
        "MISSEDCALL_NOTIFY_EWS_TIMEOUT_S": "4",  # for so long what may be stored is waited for
        "MISSEDCALL_NOTIFY_EWS_RETRY_FIRST_S": "0.2",
        "MISSEDCALL_NOTIFY_EWS_RETRY_LONGEST_S": "0.5",
        "MISSEDCALL_NOTIFY_EWS_RETRY_THROTTLED_S": "0.2",
    }


def fresh_fact(number: int, **changes):
    """Return a fact of just now, of a callee of its own."""
    now = time.time()
    given = {
        "callee": f"sip:bob{number}@example.com",
        "rang_at": now - 10,
        "ended_at": now,
        "decided_at": now,
    }
    return make_fact(f"fact-{number}", **(given | changes))


class Facts:
    """Writes `missed-calls`, as the classifier does. Blocks."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._topic = topic(environment, "missed-calls")
        self._producer = KafkaProducer(
            bootstrap_servers=environment["MISSEDCALL_KAFKA_BOOTSTRAP"].split(","), acks="all", linger_ms=5
        )

    def write(self, facts: Iterable) -> None:
        """Write facts; return when Kafka has them."""
        sent = [
            self._producer.send(
                self._topic,
                encode_missed_call(fact),
                key=fact.callee.encode(),
                headers=cloudevents.kafka_headers(fact, cloudevents.DEFAULT_SOURCE),
            )
            for fact in facts
        ]
        self._producer.flush()
        for one in sent:
            one.get(0)

    def close(self) -> None:
        self._producer.close()
