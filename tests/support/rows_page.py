"""docs/rows.md from the golden traces: `PYTHONPATH=tests python -m support.rows_page > docs/rows.md`.

The page is the decision table by example: every row with its situations, what is decided, and the trace that
holds us to it.
"""

import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from support import ladder

GOLDEN = Path(__file__).parents[1] / "golden"

# fmt: off
ROWS: dict[int, str] = {
    1: "answered by the called user",
    2: "answered on one of several devices",
    3: "the caller gives up while it rings",
    4: "the caller gives up before it rings",
    5: "the caller's CANCEL and the 2xx cross",
    6: "a server ends the ringing",
    7: "the phone ends the ringing by itself",
    8: "nobody reacts",
    9: "no device is registered",
    10: "the server knows no such user",
    11: "busy",
    12: "busy on one device, another rings",
    13: "declined by a person",
    14: "refused by a server",
    15: "Q.850 refines the status",
    16: "declined on one device, the others are cancelled",
    17: "blocked",
    18: "do not disturb",
    19: "a technical failure",
    20: "challenged, then tried again",
    21: "not admitted",
    22: "tried again after a failure",
    23: "forwarded and answered",
    24: "forwarded and not answered",
    25: "a proxy follows the redirection",
    26: "to voicemail",
    27: "a message is left",
    28: "the caller hangs up in the greeting",
    29: "a machine answers",
    30: "a mobile's voicemail answers a call that rings on elsewhere",
    31: "181, 182, 183, 199 are progress",
    32: "Lync's and Sipwise's 101 are progress",
    33: "a response group",
    34: "team call, delegation, forwarding in Lync",
    35: "the same in RFC 7044 and RFC 5806 form",
    36: "a PBX rings all, one answers",
    37: "a PBX rings all, nobody answers",
    38: "picked up by Replaces",
    39: "picked up in Asterisk",
    40: "blind transfer",
    41: "attended and half-attended transfer",
    42: "messages within a dialog",
    43: "BYE on an early dialog",
    44: "forked before us",
    45: "a loop on one branch",
    46: "instant messages, shared screens, conferences",
    47: "fax",
    48: "emergency calls and their callbacks",
    49: "auto-answer, intercom, paging",
    50: "noise and scanners",
    51: "no final response captured",
    52: "a callee who is not ours",
    53: "calls to oneself, feature codes, test calls",
}
# fmt: on

SERIES = {
    "lync": "Lync and Skype for Business: the original test series, and more",
    "join": "Legs joined, or not",
    "reason": "What a Reason says",
    "caller": "Who called",
    "rules": "Rules behind the rows",
    "loss": "Messages lost",
    "regression": "What other systems get wrong",
}


def page() -> str:
    """Return docs/rows.md."""
    traces = [ladder.load(path) for path in sorted(GOLDEN.glob("*.trace"))]
    lines = [
        "# The decision table, by example",
        "",
        "Generated from the golden traces in `tests/golden/`, which the tests hold the rules to; `row 12` in a",
        "rule's source is row 12 here. The rules themselves, in their order of evaluation: [rules.md](rules.md).",
    ]
    for number, title in ROWS.items():
        lines += ["", f"## Row {number}: {title}", "", *_table(_of(traces, f"row-{number:02}"))]
    for prefix, title in SERIES.items():
        lines += ["", f"## {title}", "", *_table(_of(traces, prefix))]
    return "\n".join(lines) + "\n"


def _of(traces: Iterable[ladder.Trace], prefix: str) -> list[ladder.Trace]:
    return [trace for trace in traces if re.match(rf"{prefix}(?!\d)", trace.name)]


def _table(traces: list[ladder.Trace]) -> Iterator[str]:
    yield "| what is seen | decided | trace |"
    yield "|---|---|---|"
    for trace in traces:
        claim = re.sub(r"^[\w ]+: ", "", trace.claim, count=1).replace("|", "\\|")
        decided = "; ".join(
            " ".join(filter(None, (f"{e.callee}: {e.outcome}", e.cause, e.values.get("state", ""))))
            for e in trace.expected
        )
        yield f"| {claim} | {decided.replace('|', ' or ') or 'nothing'} | `{trace.name}` |"


if __name__ == "__main__":
    sys.stdout.write(page())
