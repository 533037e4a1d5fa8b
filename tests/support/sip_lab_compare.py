"""docs/compare-acc.md: Kamailio's missed-call rows beside our verdicts, from the recorded run of the lab.

Rule 1: a row is read as generously as can be, so that what is counted against acc cannot be argued away.
Rule 2: what happened is `Call.fate`; both are measured by it.
"""

import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from support.sip_lab import AccRow
from support.sip_lab_calls import CALLS, DOMAIN, Call, Fate
from support.sip_lab_recording import DATA, acc_rows, decided

HEAD = """\
# Kamailio's missed-call rows beside our verdicts

The same {calls} calls, played by SIPp and baresip through one Kamailio 5.6.3 on loopback. Its module `acc` wrote
the table `missed_calls`, the capture of the same run went through `missedcall replay`. Calls:
`tests/support/sip_lab_calls.py`; proxy: `tests/e2e/lab/kamailio.cfg`; recorded run: `tests/data/lab`. A test
fails when this page no longer says what the recording says.

acc has the best configuration that we know for this purpose: its missed-call flag is set for every call to one of
our users, and set again for each further target. The configuration that Kamailio ships sets it once, and only
for users who are registered; there, nobody who was offline has a row.

A row is read as generously as possible: it says that the user in the call's To missed a call, and its reader
leaves out 302 (redirected), 404 (no such user) and 603 (declined) by himself. Both are measured by who is told
what.

| of {calls} calls | acc | ours |
|---|---|---|
"""

TABLE = """
| call | what happened | acc: rows | acc | ours | ours: rule |
|---|---|---|---|---|---|
"""

FOOT = """
## What acc gets wrong, and why

- It writes a row per failed attempt, and an attempt is no call: whoever has a second phone, a deputy or a
  voicemail gets a row before the call is over:
  {before}.
- It counts attempts: a call that two targets do not take is two missed calls ({twice}).
  A reader who keeps one row per Call-ID gets rid of these, not of those above.
- The status is the best response of all branches (RFC 3261 s.16.7) or that of the attempt before, not the reason:
  with one phone busy and the other ringing, a caller who gives up is "busy", and so is one who hangs up in the
  greeting of the voicemail ({reason}).
- A 2xx ends its interest: who hung up in the greeting of the voicemail, or whose CANCEL crossed the 200, reached
  nobody, and nobody is told ({not_told}).
- 408 stands for a phone that rang out (`timeout`) and for one that was gone (`dead-phone`) alike; 480 for a user
  who is offline and for a phone with a timer of its own.
- The target of the row is a device's contact (`phone-cancelled`: the contact that baresip made up), in a group
  one member by chance (`hunt`).

## What ours gets wrong

{ours}
## Make this page anew

```sh
make lab
PYTHONPATH=tests .venv/bin/python -m support.sip_lab_recording   # 20 s, as root for the capture
PYTHONPATH=tests .venv/bin/python -m support.sip_lab_compare > docs/compare-acc.md
```
"""

WHY = {
    "bare-answered": "forwarded by the proxy, which said so neither by History-Info nor by Diversion; the new "
    "phone passes for one more phone of the same user. Nobody is told either way.",
    "phone-rejects": "its user rejected the call, and baresip 1.0.0 says 486 for that, as if it were busy. What a "
    "phone does not say nobody behind it can know.",
}
"""Why a verdict of ours is not what happened."""

CAUSES = {"487": ("caller-cancelled",), "486": ("busy",), "408": ("no-answer", "unreachable")}
CAUSES["480"] = CAUSES["408"]
"""What a status can stand for."""
FILTERED = {"302", "404", "603"}

RIGHT, UNTOLD, FALSE, TWICE, REASON = (
    "right",
    "not told",
    "told of a call that was not missed",
    "told more than once",
    "told another reason",
)


def judged(fate: Fate, told: Sequence[tuple[str, ...]]) -> str:
    """Say what is wrong about notices, each given as the causes that it can stand for."""
    if fate[0] != "missed":
        return FALSE if told else RIGHT
    if not told:
        return UNTOLD
    if len(told) > 1:
        return TWICE
    return RIGHT if fate[1] in told[0] else REASON


def judge_acc(call: Call, rows: Sequence[AccRow]) -> str:
    """Say what is wrong about the rows of one call."""
    return judged(call.fate, [CAUSES.get(row.code, ()) for row in rows if row.code not in FILTERED])


def judge_ours(call: Call, verdict: Mapping[str, str]) -> str:
    """Say what is wrong about a verdict of ours."""
    return judged(call.fate, [(verdict["cause"],)] if verdict["outcome"] == "missed" else [])


def page(verdicts: Iterable[Mapping[str, Any]]) -> str:
    """Return the text of docs/compare-acc.md, given the verdicts about the recorded capture."""
    by_callee = {verdict["callee"]: verdict for verdict in verdicts}
    written = acc_rows()
    lines = []
    faults: dict[str, list[str]] = {fault: [] for fault in (RIGHT, FALSE, UNTOLD, TWICE, REASON)}
    ours: Counter[str] = Counter()
    wrong = []
    for call in CALLS:
        rows = [row for row in written if row.table == "missed_calls" and row.to_user == call.callee]
        verdict = by_callee[f"sip:{call.callee}@{DOMAIN}"]
        fault, own = judge_acc(call, rows), judge_ours(call, verdict)
        faults[fault].append(f"`{call.callee}`")
        ours[own] += 1
        said = _words(verdict["outcome"], verdict.get("cause", ""))
        if said != _words(*call.fate):
            wrong.append(f"- `{call.callee}` ({said} instead of {_words(*call.fate)}): {WHY[call.callee]}")
        shown = "<br>".join(f"{row.code} {_target(row)}" for row in rows) or "none"
        lines.append(
            f"| `{call.callee}` | {call.what}: {_words(*call.fate)} | {shown} | {fault} | "
            f"{said if own == RIGHT else f'{said}, {own}'} | `{verdict['rule']}` |"
        )
    counts = [f"| {fault} | {len(found)} | {ours[fault]} |" for fault, found in faults.items()]
    foot = FOOT.format(
        before=", ".join(name for name in faults[FALSE] if name != "`phone-rejects`"),
        twice=", ".join(faults[TWICE]),
        reason=", ".join(faults[REASON]),
        not_told=", ".join(faults[UNTOLD]),
        ours="".join(f"{line}\n" for line in wrong),
    )
    return HEAD.format(calls=len(CALLS)) + "\n".join(counts) + "\n" + TABLE + "\n".join(lines) + "\n" + foot


def _words(outcome: str, cause: str) -> str:
    return f"{outcome} ({cause})" if cause else outcome


def _target(row: AccRow) -> str:
    # baresip's contact has its account's memory address in it, another one in each run
    return row.target.partition("-0x")[0] + "-0x…" if "-0x" in row.target else row.target.partition("@")[0]


if __name__ == "__main__":
    sys.stdout.write(page(decided("--verdicts", str(DATA / "run.pcap"))))
