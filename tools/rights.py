"""Write docs/rights.md from the rights' rows.

.venv/bin/python tools/rights.py
"""

import sys
from pathlib import Path

from missedcall_common.kafka.rights import ALL, APPLICATION, RIGHTS, Right

PAGE = Path(__file__).resolve().parents[1] / "docs/rights.md"
PROGRAMS = {
    "collector": "collector",
    "classifier": "classifier",
    "notifier": "notifier, per channel",
    "topics": "`python -m missedcall_common.kafka`, the chart's job",
    "test": "`helm test`",
    "scale": "`missedcall scale-partitions`",
    "audit": "`missedcall audit`",
    "redrive": "`missedcall redrive --bootstrap`",
    "directory": "`missedcall directory publish`",
}


_HEAD = """# Rights on Kafka

Written by `python tools/rights.py` from `services/common/missedcall_common/kafka/rights.py`; a test checks that
it is fresh, others that each program works with these rights alone, and not without any one of them.

Names bear `MISSEDCALL_KAFKA_PREFIX`, and `.gN` from the second generation on. What ends in `*` is given for all
names that begin so (`--resource-pattern-type prefixed`), since `missedcall scale-partitions` makes these anew
under further names. APPLICATION is `MISSEDCALL_APPLICATION`: `missedcall-classifier`, or of a notifier
`missedcall-notifier-CHANNEL`.

| program | on | rights |
|---|---|---|"""

_TAIL = """\
Read, Write and Delete include Describe, AlterConfigs includes DescribeConfigs. A notifier needs `directory` and
`preferences` only with `MISSEDCALL_NOTIFY_PEOPLE_TOPICS`. Who autoscales by lag needs Describe on topic and
group. A subscriber of `missed-calls` needs Read on it and on a group of its own.

With the chart, `strimzi.users.enabled` makes a KafkaUser per program, with these rights. Without, by Kafka's
tools:

```
kafka-acls.sh --bootstrap-server kafka-1:9092 --add --allow-principal User:missedcall-collector \\
  --operation Write --topic sip-transactions --resource-pattern-type prefixed
kafka-acls.sh --bootstrap-server kafka-1:9092 --add --allow-principal User:missedcall-collector \\
  --operation Read --topic partitioning
```

A program looks when it starts whether brokers grant what it needs, and names each right that is missing, with its
topic or group: the classifier ends with status 1, a notifier waits, a collector keeps what it receives, `missedcall
scale-partitions` refuses before it changes anything. A classifier from which its group or its transactional ids are
taken later ends with status 70 and names them. `missedcall check` asks for a notifier."""


def markdown() -> str:
    """Return docs/rights.md."""
    lines = [_HEAD]
    for program, rows in RIGHTS.items():
        for number, right in enumerate(rows):
            name = "each topic below the prefix" if right.name == ALL else f"`{_plainly(right)}`"
            kind = {"transactionalId": "transactional id"}.get(right.kind, right.kind)
            who = PROGRAMS[program] if number == 0 else ""
            lines.append(f"| {who} | {kind} {name} | {', '.join(right.operations)} |")
    lines += ["", _TAIL, ""]
    return "\n".join(lines)


def _plainly(right: Right) -> str:
    name = right.name.replace("{channel}", "CHANNEL").replace(APPLICATION, "APPLICATION")
    return f"{name}*" if right.prefixed else name


def main() -> int:
    """Write the page."""
    PAGE.write_text(markdown(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
