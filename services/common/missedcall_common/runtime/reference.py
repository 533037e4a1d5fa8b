"""docs/log.md from the catalogues: `python -m missedcall_common.runtime.reference > docs/log.md`."""

import sys

from .counters import COUNTERS
from .events import LEVEL_NAMES, Event, Fields

_HEAD = """# Log lines and counters

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
    """Return the reference of every event, field and counter."""
    lines = [_HEAD]
    lines += [f"| `{event}` | {LEVEL_NAMES[event.level]} | {event.meaning} |" for event in Event]
    fields = ", ".join(f"`{name}`" for name in sorted(Fields.__annotations__))
    lines += ["", "## Fields", "", f"Units are in the names: `_s` seconds, `_ms` milliseconds. {fields}."]
    lines += ["", "## Counters", "", "| name | counts |", "|---|---|"]
    for name, meaning in COUNTERS.items():
        family = "<cause>" if name.endswith((".", "-", ":")) else ""
        lines.append(f"| `{name}{family}` | {meaning} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(log_markdown())
