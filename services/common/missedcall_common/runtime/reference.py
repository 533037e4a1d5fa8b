"""docs/log.md from the catalogues: `python -m missedcall_common.runtime.reference > docs/log.md`."""

import sys

from .counters import COUNTERS
from .events import LEVEL_NAMES, Event, Fields
from .metrics import OTHERS, catalogue, in_prometheus, metric_of

_HEAD = """# Log lines, counters and metrics

Written by `python -m missedcall_common.runtime.reference` from the catalogues in
`services/common/missedcall_common/runtime/`; a test checks that it is fresh.

Every line on standard error is one JSON object with `time` (RFC 3339, UTC), `level`, `event` and the fields of the
event. No line holds a Call-ID, URI, number, name or network address: a field outside the list below is left out
and named under `refused`, and a text that looks like an address reads `(withheld)`. Of an exception there are its
class (`error`) and its places in the code (`trace`), not its text.

## Events

| event | level | means |
|---|---|---|"""


def log_markdown() -> str:
    """Return the reference of every event, field, counter and metric."""
    lines = [_HEAD]
    lines += [f"| `{event}` | {LEVEL_NAMES[event.level]} | {event.meaning} |" for event in Event]
    fields = ", ".join(f"`{name}`" for name in sorted(Fields.__annotations__))
    lines += ["", "## Fields", "", f"Units are in the names: `_s` seconds, `_ms` milliseconds. {fields}."]
    metrics = catalogue()
    lines += [
        "",
        "## Counters",
        "",
        "The second name is that of the metric in Prometheus: [telemetry.md](telemetry.md).",
        "",
    ]
    lines += ["| name | metric | counts |", "|---|---|---|"]
    for name, meaning in COUNTERS.items():
        family = "<cause>" if name.endswith((".", "-", ":")) else ""
        metric = metric_of(name)[0]
        label = "{cause}" if family else ""
        lines.append(f"| `{name}{family}` | `{in_prometheus(metric, metrics[metric])}{label}` | {meaning} |")
    lines += ["", "## Other metrics", "", "| metric | kind | means |", "|---|---|---|"]
    for name, row in OTHERS.items():
        label = f"{{{','.join(row.attributes)}}}" if row.attributes else ""
        lines.append(f"| `{in_prometheus(name, row)}{label}` | {row.kind} | {row.meaning} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(log_markdown())
